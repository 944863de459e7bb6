#!/usr/bin/perl
# status.pl SERVERS HANDLE        a job's status by the handle that dispatch_background returned
# status.pl SERVERS               the functions of the server, as get_job_server_status reads them
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guest;
use Gearman::Client;

my ($servers, $handle) = @ARGV;
my $client = Gearman::Client->new(job_servers => [Guest::servers($servers)]);
if (defined $handle) {
    my $status = $client->get_status($handle) or die "no status\n";
    printf "known=%d running=%d %s\n", $status->known, $status->running, join '/', @{ $status->progress || [] };
}
else {
    my ($functions) = values %{ $client->get_job_server_status };
    for (sort keys %{ $functions || {} }) {
        my $function = $functions->{$_};
        print join(' ', $_, @$function{qw(queued running capable)}), "\n";
    }
}
