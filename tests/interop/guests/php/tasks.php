<?php
// tasks.php [-n] [-x] [-t MS] [-k ''|High|Low|Background|HighBackground|LowBackground] SERVERS FUNCTION=WORKLOAD...
//
// Many tasks at once, with every callback. Prints each event: its name, the workload's place, and what came.
//   -n non-blocking   -x asks for exceptions   status:=HANDLE asks for a job's status
require __DIR__ . '/guest.php';

[$options, $words] = arguments('nxt:k:');
$client = client_of(array_shift($words), $options);
if (isset($options['n'])) {
    $client->addOptions(GEARMAN_CLIENT_NON_BLOCKING);
}
if (isset($options['x'])) {
    $client->enableExceptionHandler();
}
$event = fn(string $name) => function (GearmanTask $task, $place) use ($name) {
    echo rtrim("$name $place " . $task->data()), "\n";
    return GEARMAN_SUCCESS;
};
$client->setCreatedCallback(function (GearmanTask $task, $place) {
    echo "created $place ", $task->jobHandle() !== '' ? "handle\n" : "nothing\n";
    return GEARMAN_SUCCESS;
});
$client->setDataCallback($event('data'));
$client->setWarningCallback($event('warning'));
$client->setStatusCallback(function (GearmanTask $task, $place) {
    $place = is_string($place) ? $place : '?';
    printf(
        "status %s %d/%d known=%d running=%d\n",
        $place,
        $task->taskNumerator(),
        $task->taskDenominator(),
        $task->isKnown(),
        $task->isRunning()
    );
    return GEARMAN_SUCCESS;
});
$client->setCompleteCallback($event('complete'));
$client->setExceptionCallback($event('exception'));
$client->setFailCallback($event('fail'));

$add = 'addTask' . ($options['k'] ?? '');
foreach ($words as $place => $word) {
    [$function, $workload] = explode('=', $word, 2);
    $place = (string) ($place + 1);
    if ($function === 'status:') {
        $client->addTaskStatus($workload, $place);
    } else {
        $client->$add($function, $workload, $place);
    }
}

$waited = '';
while (@$client->runTasks() && $client->returnCode() === GEARMAN_IO_WAIT) {
    $waited = ' waited';
    if (!@$client->wait()) {
        break;
    }
}
echo name_of($client->returnCode()), $waited, "\n";
