#!/bin/sh
# A shell script that lets another program answer (RFC 3875 section 6.2.2).
echo "Location: /cgi-bin/search.pl/archive?$QUERY_STRING"
echo
