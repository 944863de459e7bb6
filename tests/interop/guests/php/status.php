<?php
// status.php SERVERS handle|unique KEY
//
// A job's status. Prints: known running numerator/denominator
require __DIR__ . '/guest.php';

[, [$servers, $by, $key]] = arguments('');
$client = client_of($servers, []);
$status = $by === 'unique' ? $client->jobStatusByUniqueKey($key) : $client->jobStatus($key);
printf("known=%d running=%d %d/%d\n", ...$status);
