"""Our client, asyncio: one job after the other, or WINDOW at once."""

import asyncio

from gate import JOBS, PORT, WINDOW, WORKLOAD, pass_through

from geartrain import AsyncClient

runner = asyncio.Runner()


async def connect() -> AsyncClient:
    return AsyncClient(f"127.0.0.1:{PORT}")


client = runner.run(connect())


async def run(jobs: int = JOBS) -> None:
    if WINDOW == 1:
        for _ in range(jobs):
            assert await client.do("bench0", WORKLOAD) == WORKLOAD
        return
    for _ in range(jobs // WINDOW):
        for task in client.submit_many("bench0", [WORKLOAD] * WINDOW):
            assert await task == WORKLOAD


pass_through(lambda: runner.run(run(max(100, WINDOW))), lambda: runner.run(run()))
