"""A worker with two functions, to try a server with: ``python -m geartrain.examples.sample_worker [HOST:PORT]``.

reverse     the workload backwards
wc          its lines, words and bytes, as the command wc counts them
"""

import sys

from geartrain import Job, Worker

__all__ = ["make_worker", "reverse", "wc"]


def reverse(job: Job) -> bytes:
    """Text is turned character by character; what is no text, byte by byte."""
    try:
        return job.workload.decode()[::-1].encode()
    except UnicodeDecodeError:
        return job.workload[::-1]


def wc(job: Job) -> str:
    """Lines, words and bytes."""
    lines = job.workload.count(b"\n")
    return f"{lines:7} {len(job.workload.split()):7} {len(job.workload):7}\n"


def make_worker(servers: str | None = None) -> Worker:
    """The worker, for ``HOST:PORT`` or a list of them with commas."""
    worker = Worker(servers, client_id="sample")
    worker.register("reverse", reverse)
    worker.register("wc", wc)
    return worker


if __name__ == "__main__":
    make_worker(",".join(sys.argv[1:]) or None).work()
