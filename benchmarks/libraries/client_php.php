<?php // PHP's extension over libgearman: one job after the other, or WINDOW at once.
[$port, $jobs, $window] = [(int) $argv[1], (int) $argv[2], (int) $argv[3]];
$workload = str_repeat('x', 64);
$client = new GearmanClient();
$client->addServer('127.0.0.1', $port);
$good = 0;
$client->setCompleteCallback(function ($task) use (&$good, $workload) { $good += $task->data() === $workload; });

function run(int $jobs): void
{
    global $client, $window, $workload, $good;
    if ($window == 1) {
        for ($i = 0; $i < $jobs; $i++) {
            if ($client->doNormal('bench0', $workload) !== $workload) exit(1);
        }
        return;
    }
    for ($n = intdiv($jobs, $window); $n > 0; $n--) {
        $good = 0;
        for ($i = 0; $i < $window; $i++) $client->addTask('bench0', $workload, null, "u$i");
        $client->runTasks();
        if ($good !== $window) exit(1);
    }
}

run(max(100, $window));
echo "ready\n";
fgets(STDIN);
run($jobs);
echo "done\n";
fgets(STDIN);
