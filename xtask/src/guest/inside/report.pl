#!/usr/bin/perl
# What the witness wrote down since a moment: how often, by how much it ran too long at the worst, how often without permission.
use strict;
use warnings;

my ($since, $count, $late, $unconfirmed) = ($ARGV[0], 0, 0, 0);
open my $log, '<', '/run/witness/log' or die "/run/witness/log: $!";
while (<$log>) {
    my ($now, $until) = /^(\d+) (\d+)$/ or next;
    next if $now < $since;
    $count++;
    $unconfirmed++ if $now > $until;
    $late = $now - $until if $until > 0 && $now - $until > $late;
}
print "$count $late $unconfirmed\n";
