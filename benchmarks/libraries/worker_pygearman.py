"""PyPI's pygearman as a worker that returns the workload."""

import gearman
from gate import PORT

worker = gearman.GearmanWorker([f"127.0.0.1:{PORT}"])
worker.register_task(b"bench0", lambda worker, job: job.data)
print("ready", flush=True)
worker.work()
