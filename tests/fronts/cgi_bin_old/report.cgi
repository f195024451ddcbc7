#!python2
# Python 2.7, and nobody is going to change that.
import os
import urlparse

fields = dict(urlparse.parse_qsl(os.environ["QUERY_STRING"]))
print "Content-Type: text/plain"
print "X-Side: old"
print
for row in xrange(int(fields["rows"])):
    print "row", row, fields["title"]
