<?php
// submit.php [-k Background|HighBackground|LowBackground] [-u UNIQUE] SERVERS FUNCTION WORKLOAD...
//
// Background jobs. Prints their handles.
require __DIR__ . '/guest.php';

[$options, $words] = arguments('k:u:');
[$servers, $function] = array_splice($words, 0, 2);
$client = client_of($servers, $options);
$do = 'do' . ($options['k'] ?? 'Background');
foreach ($words as $workload) {
    echo isset($options['u']) ? $client->$do($function, $workload, $options['u']) : $client->$do($function, $workload);
    echo "\n";
    if ($client->returnCode() !== GEARMAN_SUCCESS) {
        echo name_of($client->returnCode()), "\n";
    }
}
