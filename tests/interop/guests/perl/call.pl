#!/usr/bin/perl
# call.pl [-k high|normal|low] [-u UNIQUE] [-t SECONDS] [-p PREFIX] [-r RETRIES] [-x] SERVERS FUNCTION WORKLOAD
#
# One job with do_task. Prints each event, and the result or FAILED.
#   -x asks for exceptions   -r tries so often again
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guest;
use Gearman::Client;
use Getopt::Std;

my %option;
getopts('k:u:t:p:r:x', \%option) or exit 2;
my ($servers, $function, $workload) = @ARGV;

my $client = Gearman::Client->new(
    job_servers => [Guest::servers($servers)],
    exceptions  => $option{x} ? 1 : 0,
    $option{p} ? (prefix => $option{p}) : (),
);
my $result = $client->do_task(
    $function,
    $workload,
    {
        $option{u} ? (uniq        => $option{u}) : (),
        $option{k} ? (priority    => $option{k}) : (),
        $option{t} ? (timeout     => $option{t}) : (),
        $option{r} ? (retry_count => $option{r}) : (),
        on_data      => sub { print "data ${$_[0]}\n" },
        on_warning   => sub { print "warning ${$_[0]}\n" },
        on_status    => sub { print "status $_[0]/$_[1]\n" },
        on_retry     => sub { print "retry $_[0]\n" },
        on_exception => sub { print "exception $_[0]\n" },
        on_fail      => sub { print 'fail ', $_[0] // '', "\n" },
    }
);
print $result ? "RESULT $$result\n" : "FAILED\n";
