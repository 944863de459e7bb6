<?php
// What the guest programs in PHP share: the names of the library's return codes, and their arguments.
error_reporting(E_ALL);

function name_of(int $code): string
{
    foreach (get_defined_constants(true)['gearman'] as $name => $value) {
        if ($value === $code && preg_match('/^GEARMAN_(?!CLIENT_|WORKER_|COMMAND_|JOB_PRIORITY_)/', $name)) {
            return substr($name, strlen('GEARMAN_'));
        }
    }
    return "#$code";
}

/** Takes the options off the command line and leaves the words. */
function arguments(string $options): array
{
    global $argv;
    $found = getopt($options, [], $rest);
    return [$found, array_slice($argv, $rest)];
}

function client_of(string $servers, array $options): GearmanClient
{
    $client = new GearmanClient();
    try {
        $client->addServers($servers);
    } catch (GearmanException $error) {
        // The extension asks every server for exceptions at once, and throws if one of them is down (pecl #7);
        // the servers are known to it all the same, and programs go on like this.
    }
    if (isset($options['t'])) {
        $client->setTimeout((int) $options['t']);
    }
    return $client;
}
