#!/bin/bash
# A shell script that tells what it was asked.
cat <<END
Content-Type: text/plain
X-Side: old

$REQUEST_METHOD $SCRIPT_NAME?$QUERY_STRING for $HTTP_X_VISITOR
END
