"""PyPI's pygearman as a client: one job after the other, or WINDOW at once."""

import gearman
from gate import JOBS, PORT, WINDOW, WORKLOAD, pass_through

client = gearman.GearmanClient([f"127.0.0.1:{PORT}"])
text = WORKLOAD.decode()


def run(jobs=JOBS):
    if WINDOW == 1:
        for _ in range(jobs):
            request = client.submit_job("bench0", text)
            assert request.complete
        return
    for _ in range(jobs // WINDOW):
        requests = client.submit_multiple_jobs([{"task": "bench0", "data": text} for _ in range(WINDOW)])
        assert all(request.complete for request in requests)


pass_through(lambda: run(max(100, WINDOW)), run)
