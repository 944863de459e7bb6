#!/usr/bin/perl
# submit.pl [-k high|normal|low] [-u UNIQUE] SERVERS FUNCTION WORKLOAD...
#
# Background jobs with dispatch_background. Prints their handles.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guest;
use Gearman::Client;
use Getopt::Std;

my %option;
getopts('k:u:', \%option) or exit 2;
my ($servers, $function, @workloads) = @ARGV;

my $client = Gearman::Client->new(job_servers => [Guest::servers($servers)]);
my $handle;
for (@workloads) {
    $handle = $client->dispatch_background($function, $_,
        { $option{u} ? (uniq => $option{u}) : (), $option{k} ? (priority => $option{k}) : () });
    print $handle // 'none', "\n";
}
