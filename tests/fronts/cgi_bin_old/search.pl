#!/usr/bin/perl
# Perl: what is looked for stands in the query, where in the path behind the script's name.
use strict;
my ($word) = ($ENV{QUERY_STRING} || "") =~ /(?:^|&)q=([^&]*)/;
$word =~ tr/+/ /;
$word =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
print "Content-Type: text/plain\nX-Side: old\n\n";
print "$word in $ENV{PATH_INFO} of $ENV{SCRIPT_NAME}\n";
