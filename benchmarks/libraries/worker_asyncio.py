"""Our worker, asyncio: returns the workload."""

import asyncio

from gate import PORT

from geartrain import AsyncWorker, Job


async def echo(job: Job) -> bytes:
    return job.workload


async def main() -> None:
    worker = AsyncWorker(f"127.0.0.1:{PORT}")
    worker.register("bench0", echo)
    print("ready", flush=True)
    await worker.work()


asyncio.run(main())
