#!/usr/bin/perl
# Perl: counts who has been here, under a lock.
use strict;
use Fcntl qw(:DEFAULT :flock);
sysopen my $file, "../data/counter", O_RDWR | O_CREAT or die "counter: $!";
flock $file, LOCK_EX or die "lock: $!";
my $count = (<$file> || 0) + 1;
seek $file, 0, 0;
truncate $file, 0;
print $file "$count\n";
close $file or die "counter: $!";
print "Content-Type: text/plain\r\nX-Side: old\r\n\r\n$count\n";
