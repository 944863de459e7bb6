package Guest;

# What the guest programs in Perl share: their list of servers, with TLS where the environment names its files.
use strict;
use warnings;

sub servers {
    my @addresses = split /,/, shift;
    return @addresses unless $ENV{GEARMAND_CA_CERTIFICATE};
    return map {
        my ($host, $port) = split /:/;
        {
            host    => $host,
            port    => $port,
            use_ssl => 1,
            ca_file => $ENV{GEARMAND_CA_CERTIFICATE},
            $ENV{GEARMAN_CLIENT_PEM}
            ? (cert_file => $ENV{GEARMAN_CLIENT_PEM}, key_file => $ENV{GEARMAN_CLIENT_KEY})
            : (),
        }
    } @addresses;
}

1;
