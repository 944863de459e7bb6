"""Our client, sync: one job after the other, or WINDOW at once."""

from gate import JOBS, PORT, WINDOW, WORKLOAD, pass_through

from geartrain import Client

client = Client(f"127.0.0.1:{PORT}")


def run(jobs: int = JOBS) -> None:
    if WINDOW == 1:
        for _ in range(jobs):
            assert client.do("bench0", WORKLOAD) == WORKLOAD
        return
    for _ in range(jobs // WINDOW):
        for task in client.submit_many("bench0", [WORKLOAD] * WINDOW):
            assert task.result() == WORKLOAD


pass_through(lambda: run(max(100, WINDOW)), run)
