<?php // PHP's extension over libgearman, as a worker that returns the workload.
$worker = new GearmanWorker();
$worker->addServer('127.0.0.1', (int) $argv[1]);
$worker->addFunction('bench0', fn ($job) => $job->workload());
echo "ready\n";
while ($worker->work());
