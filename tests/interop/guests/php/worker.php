<?php
// worker.php [-n] [-c COUNT] [-t MS] [-i ID] SERVERS FUNCTION[:TIMEOUT]...
//
// Serves the functions below.
//   -n non-blocking, as the manual shows it   -c leave after so many jobs   -t leave after so long without one
require __DIR__ . '/guest.php';

function reverse(GearmanJob $job): string
{
    return strrev($job->workload());
}

/** Everything that a job may send, then its result. */
function story(GearmanJob $job): string
{
    $job->sendData('one');
    $job->sendWarning('careful');
    $job->sendStatus(1, 2);
    $job->sendData('two');
    $job->sendStatus(2, 2);
    return 'three';
}

function fail(GearmanJob $job): void
{
    $job->sendFail();
}

function returns_fail(GearmanJob $job): void
{
    $job->setReturn(GEARMAN_WORK_FAIL);
}

function exception(GearmanJob $job): void
{
    $job->sendException('it broke');
}

function complete(GearmanJob $job): void
{
    $job->sendComplete('sent by hand');
}

function describe(GearmanJob $job): string
{
    return implode(' ', [$job->handle(), $job->functionName(), $job->unique(), $job->workloadSize()]);
}

/** Reports 1 of 4, then waits at the named pipe in the workload, and answers with what comes through it. */
function gate(GearmanJob $job): string
{
    $job->sendStatus(1, 4);
    return file_get_contents($job->workload());
}

function note(GearmanJob $job): void
{
    echo $job->workload(), "\n";
}

[$options, $words] = arguments('nc:t:i:');
$worker = new GearmanWorker();
$worker->addServers(array_shift($words));
if (isset($options['i'])) {
    $worker->setId($options['i']);
}
if (isset($options['t'])) {
    $worker->setTimeout((int) $options['t']);
}
if (isset($options['n'])) {
    $worker->addOptions(GEARMAN_WORKER_NON_BLOCKING);
}
$context = 'context';
foreach ($words as $word) {
    [$name, $timeout] = explode(':', $word) + [1 => 0];
    $worker->addFunction($name, $name, $context, (int) $timeout);
}

$left = isset($options['c']) ? (int) $options['c'] : -1;
$waited = false;
while ($left) {
    $worked = @$worker->work();
    $code = $worker->returnCode();
    if ($code === GEARMAN_TIMEOUT) {
        echo "TIMEOUT\n";
        exit(0);
    }
    if ($code === GEARMAN_IO_WAIT || $code === GEARMAN_NO_JOBS) {
        $waited = true;
        if (@$worker->wait() || $worker->returnCode() === GEARMAN_NO_ACTIVE_FDS) {
            continue;
        }
        if ($worker->returnCode() === GEARMAN_TIMEOUT) {
            echo "waited, TIMEOUT\n";
            exit(0);
        }
        fwrite(STDERR, $worker->error() . "\n");
        exit(1);
    }
    if (!$worked && $code !== GEARMAN_WORK_FAIL) {
        fwrite(STDERR, name_of($code) . ' ' . $worker->error() . "\n");
        exit(1);
    }
    $left -= $left > 0 ? 1 : 0;
}
echo $waited ? "waited\n" : "never waited\n";
