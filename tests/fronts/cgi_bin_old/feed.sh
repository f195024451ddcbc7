#!/bin/bash
# A slow one: the first line at once, the others when there is something to tell.
printf 'Content-Type: text/plain\nX-Side: old\n\nbegin\n'
if [ "$QUERY_STRING" = wait ]; then cat ../data/news; else sleep 0.05; fi
echo end
