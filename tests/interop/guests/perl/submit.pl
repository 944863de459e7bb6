#!/usr/bin/perl
# submit.pl [-k high|normal|low] [-u UNIQUE] SERVERS FUNCTION WORKLOAD...
#
# Background jobs with dispatch_background. Prints their handles.
use strict;
use warnings;
use Gearman::Client;
use Getopt::Std;

my %option;
getopts('k:u:', \%option) or exit 2;
my ($servers, $function, @workloads) = @ARGV;

my $client = Gearman::Client->new(job_servers => [split /,/, $servers]);
my $handle;
for (@workloads) {
    $handle = $client->dispatch_background($function, $_,
        { $option{u} ? (uniq => $option{u}) : (), $option{k} ? (priority => $option{k}) : () });
    print $handle // 'none', "\n";
}
