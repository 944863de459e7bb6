"""PyPI's gear as a worker that returns the workload."""

import gear
from gate import PORT

worker = gear.Worker(b"bench")
worker.addServer("127.0.0.1", PORT)
worker.waitForServer()
worker.registerFunction(b"bench0")
print("ready", flush=True)
while True:
    job = worker.getJob()
    job.sendWorkComplete(job.arguments)
