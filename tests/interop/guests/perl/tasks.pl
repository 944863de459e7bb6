#!/usr/bin/perl
# tasks.pl [-t SECONDS] [-x] SERVERS FUNCTION=WORKLOAD...
#
# Many tasks in one Gearman::Taskset. Prints each event: its name, the workload's place, and what came.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guest;
use Gearman::Client;
use Getopt::Std;

my %option;
getopts('t:x', \%option) or exit 2;
my ($servers, @words) = @ARGV;

my $client = Gearman::Client->new(job_servers => [Guest::servers($servers)], exceptions => $option{x} ? 1 : 0);
my $tasks = $client->new_task_set;
my $place = 0;
for (@words) {
    my ($function, $workload) = split /=/, $_, 2;
    my $here = ++$place;
    $tasks->add_task(
        $function => $workload,
        {
            on_complete  => sub { print "complete $here ${$_[0]}\n" },
            on_data      => sub { print "data $here ${$_[0]}\n" },
            on_warning   => sub { print "warning $here ${$_[0]}\n" },
            on_status    => sub { print "status $here $_[0]/$_[1]\n" },
            on_exception => sub { print "exception $here $_[0]\n" },
            on_fail      => sub { print "fail $here ", $_[0] // '', "\n" },
        }
    );
}
$tasks->wait($option{t} ? (timeout => $option{t}) : ());
print "end\n";
