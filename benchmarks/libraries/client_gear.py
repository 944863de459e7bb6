"""PyPI's gear as a client: one job after the other, or WINDOW at once."""

import queue

import gear
from gate import JOBS, PORT, WINDOW, WORKLOAD, pass_through

finished: "queue.SimpleQueue[gear.Job]" = queue.SimpleQueue()


class Client(gear.Client):
    def handleWorkComplete(self, packet):
        job = super().handleWorkComplete(packet)
        finished.put(job)
        return job


client = Client()
client.addServer("127.0.0.1", PORT)
client.waitForServer()


def run(jobs=JOBS):
    for _ in range(jobs // WINDOW):
        for _ in range(WINDOW):
            client.submitJob(gear.Job(b"bench0", WORKLOAD))
        for _ in range(WINDOW):
            assert b"".join(finished.get(timeout=60).data) == WORKLOAD


pass_through(lambda: run(max(100, WINDOW)), run)
