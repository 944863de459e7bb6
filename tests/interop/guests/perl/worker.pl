#!/usr/bin/perl
# worker.pl [-c COUNT] [-p PREFIX] [-i ID] SERVERS FUNCTION[:TIMEOUT]...
#
# Serves the functions below with Gearman::Worker.
#   -c leave after so many jobs   -p register them under a prefix
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guest;
use Gearman::Worker;
use Getopt::Std;

my %option;
getopts('c:p:i:', \%option) or exit 2;
my ($servers, @functions) = @ARGV;

my $worker;
my %ability = (
    reverse => sub { scalar reverse $_[0]->arg },

    # Everything that a job may send, then its result.
    story => sub {
        my $job = shift;
        $worker->send_work_data($job, 'one');
        $worker->send_work_warning($job, 'careful');
        $job->set_status(1, 2);
        $worker->send_work_data($job, 'two');
        $job->set_status(2, 2);
        return 'three';
    },

    # No result means a failed job.
    fail => sub { return },

    # A task that dies: its last words become the exception.
    exception => sub { die "it broke\n" },

    describe => sub { join ' ', $_[0]->handle, length $_[0]->arg },

    # Reports 1 of 4, then waits at the named pipe in the workload, and answers with what comes through it.
    gate => sub {
        $_[0]->set_status(1, 4);
        open my $pipe, '<', $_[0]->arg or return;
        local $/;
        return scalar <$pipe>;
    },

    note => sub { local $| = 1; print $_[0]->arg, "\n"; 1 },
);

$worker = Gearman::Worker->new(
    job_servers => [Guest::servers($servers)],
    $option{p} ? (prefix => $option{p}) : (),
    $option{i} ? (client_id => $option{i}) : (),
);
for (@functions) {
    my ($name, $timeout) = split /:/;
    $worker->register_function($name, $timeout ? ($timeout) : (), $ability{$name} || die "no ability $name\n");
}

my $done = 0;
my $count = sub { $done++ };
$worker->work(
    on_complete => $count,
    on_fail     => $count,
    stop_if     => sub { $option{c} && $done >= $option{c} },
);
print "did $done\n";
