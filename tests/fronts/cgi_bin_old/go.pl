#!/usr/bin/perl
# Perl: sends the visitor elsewhere.
my ($to) = $ENV{QUERY_STRING} =~ /^to=(\w+)$/;
print "Status: 302 Found\nX-Side: old\nLocation: http://$ENV{HTTP_HOST}/docs/$to.html\n\n";
