"""Our worker, sync: returns the workload."""

from gate import PORT

from geartrain import Worker

worker = Worker(f"127.0.0.1:{PORT}")
worker.register("bench0", lambda job: job.workload)
print("ready", flush=True)
worker.work()
