#!/usr/bin/perl
# The service that is guarded. Every 20 ms it writes down what time it is, and until when the agent has allowed it to run, both
# in nanoseconds of CLOCK_BOOTTIME; 0 is no permission at all. It says the same, after the id of this boot, to whoever connects.
# Without any module: where the processor is emulated they take seconds to load, and the smallest Debian lacks some.
use strict;
use warnings;

# Of x86_64, as is the guest.
my ($SYS_CLOCK_GETTIME, $CLOCK_BOOTTIME) = (228, 7);
my ($AF_INET, $SOCK_STREAM, $SOL_SOCKET, $SO_REUSEADDR) = (2, 1, 1, 2);
$SIG{PIPE} = 'IGNORE';

sub moment {
    my $text = '';
    if (open my $file, '<', '/run/baton/orders/validity') {
        local $/;
        $text = <$file> // '';
    }
    my $until = $text =~ /"armed":\s*true/ && $text =~ /"valid_until":\s*(\d+)/ ? $1 : 0;
    # Read first and compared with a later clock: it errs to the strict side.
    my $time = "\0" x 16;
    syscall($SYS_CLOCK_GETTIME, $CLOCK_BOOTTIME, $time) == 0 or die "clock_gettime: $!";
    my ($seconds, $nanoseconds) = unpack 'q q', $time;
    return $seconds * 1_000_000_000 + $nanoseconds . " $until";
}

open my $id, '<', '/proc/sys/kernel/random/boot_id' or die "boot_id: $!";
chomp(my $boot = <$id>);
open my $log, '>>', '/run/witness/log' or die "/run/witness/log: $!";
socket my $server, $AF_INET, $SOCK_STREAM, 0 or die "socket: $!";
setsockopt $server, $SOL_SOCKET, $SO_REUSEADDR, pack('l', 1) or die "setsockopt: $!";
bind $server, pack('S n x4 x8', $AF_INET, 7000) or die "port 7000: $!";
listen $server, 64 or die "listen: $!";
my $waiting = '';
vec($waiting, fileno $server, 1) = 1;
while (1) {
    if (select(my $ready = $waiting, undef, undef, 0.02) > 0 && accept my $client, $server) {
        syswrite $client, "$boot " . moment() . "\n";
        close $client;
    }
    syswrite $log, moment() . "\n";
}
