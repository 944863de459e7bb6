<?php
// call.php [-k Normal|High|Low] [-u UNIQUE] [-t MS] [-p] SERVERS FUNCTION WORKLOAD
//
// One foreground job, with the loop over return codes that the manual shows.
//   -p pings the server first
require __DIR__ . '/guest.php';

[$options, [$servers, $function, $workload]] = arguments('k:u:t:p');
$client = client_of($servers, $options);
if (isset($options['p'])) {
    echo $client->ping('are you there?') ? "pong\n" : "no pong\n";
}
$do = 'do' . ($options['k'] ?? 'Normal');
$unique = $options['u'] ?? null;
do {
    $result = $unique === null ? @$client->$do($function, $workload) : @$client->$do($function, $workload, $unique);
    $code = $client->returnCode();
    if ($code === GEARMAN_WORK_STATUS) {
        $result = implode('/', $client->doStatus());
    }
    echo rtrim(name_of($code) . ' ' . $result), "\n";
} while (in_array($code, [GEARMAN_WORK_DATA, GEARMAN_WORK_STATUS, GEARMAN_WORK_WARNING], true));
