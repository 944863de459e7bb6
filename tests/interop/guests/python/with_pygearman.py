"""A guest written with pygearman (the living branch of python-gearman): worker, call, submit, status, text commands.

with_pygearman.py worker ADDRESS FUNCTION...
with_pygearman.py call ADDRESS PRIORITY UNIQUE FUNCTION=WORKLOAD...     prints how each ended
with_pygearman.py submit ADDRESS PRIORITY UNIQUE FUNCTION=WORKLOAD...   prints the handles
with_pygearman.py follow ADDRESS FUNCTION=WORKLOAD    a background job's status, until the server forgets it
with_pygearman.py admin ADDRESS METHOD [ARGUMENT]...
"""

import os
import sys
import time
from pathlib import Path

import gearman
from gearman.constants import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NONE

PRIORITY = {"high": PRIORITY_HIGH, "normal": PRIORITY_NONE, "low": PRIORITY_LOW}


def say(*words: object) -> None:
    print(*words, flush=True)


def hosts(addresses: str) -> list[object]:
    """The servers, with TLS where the environment names its files."""
    tls = {
        "keyfile": os.environ.get("GEARMAN_CLIENT_KEY"),
        "certfile": os.environ.get("GEARMAN_CLIENT_PEM"),
        "ca_certs": os.environ.get("GEARMAND_CA_CERTIFICATE"),
    }
    pairs = (address.split(":") for address in addresses.split(","))
    return [{"host": host, "port": int(port), **tls} for host, port in pairs]


def text(data: object) -> str:
    return data.decode() if isinstance(data, bytes) else str(data)


def story(worker: gearman.GearmanWorker, job: gearman.job.GearmanJob) -> bytes:
    worker.send_job_data(job, b"one")
    worker.send_job_warning(job, b"careful")
    worker.send_job_status(job, 1, 2)
    worker.send_job_data(job, b"two")
    worker.send_job_status(job, 2, 2)
    return b"three"


def fail(worker: gearman.GearmanWorker, job: gearman.job.GearmanJob) -> bytes:
    raise RuntimeError("a task that fails")


def gate(worker: gearman.GearmanWorker, job: gearman.job.GearmanJob) -> bytes:
    worker.send_job_status(job, 1, 4)
    return Path(text(job.data)).read_bytes()


def note(worker: gearman.GearmanWorker, job: gearman.job.GearmanJob) -> bytes:
    say(text(job.data))
    return b""


def describe(worker: gearman.GearmanWorker, job: gearman.job.GearmanJob) -> bytes:
    return f"{text(job.handle)} {text(job.task)} {text(job.unique)} {len(job.data)}".encode()


ABILITIES = {
    "reverse": lambda worker, job: job.data[::-1],
    "story": story,
    "fail": fail,
    "describe": describe,
    "gate": gate,
    "note": note,
}


def worker(addresses: str, *functions: str) -> None:
    peer = gearman.GearmanWorker(hosts(addresses))
    peer.set_client_id("pygearman-1")
    for name in functions:
        peer.register_task(name.encode(), ABILITIES[name])  # it compares with the bytes of JOB_ASSIGN_UNIQ
    peer.work(poll_timeout=5.0)


def jobs_of(words: tuple[str, ...], priority: str, unique: str) -> list[dict[str, object]]:
    pairs = (word.partition("=") for word in words)
    rest = {"unique": unique or None, "priority": PRIORITY[priority]}
    return [{"task": name, "data": workload, **rest} for name, _, workload in pairs]


def call(addresses: str, priority: str, unique: str, *words: str) -> None:
    client = gearman.GearmanClient(hosts(addresses))
    requests = client.submit_multiple_jobs(jobs_of(words, priority, unique), poll_timeout=5.0)
    for place, request in enumerate(requests, 1):
        told = [f"data:{text(data)}" for data in request.data_updates]
        told += [f"warning:{text(data)}" for data in request.warning_updates]
        if request.status:
            told.append(f"status:{request.status['numerator']}/{request.status['denominator']}")
        say(place, "timed out" if request.timed_out else request.state, text(request.result or b""), *told)


def submit(addresses: str, priority: str, unique: str, *words: str) -> None:
    client = gearman.GearmanClient(hosts(addresses))
    try:
        requests = client.submit_multiple_jobs(
            jobs_of(words, priority, unique), background=True, wait_until_complete=False, poll_timeout=5.0
        )
    except gearman.errors.GearmanError as error:
        say("refused", error)
    else:
        for request in requests:
            say(text(request.job.handle))


def follow(addresses: str, word: str) -> None:
    client = gearman.GearmanClient(hosts(addresses))
    [job] = jobs_of((word,), "normal", "")
    [request] = client.submit_multiple_jobs([job], background=True, wait_until_complete=False, poll_timeout=5.0)
    known, last = True, ""
    while known:
        status = client.get_job_status(request, poll_timeout=5.0).status
        known = status["known"]
        line = f"known={known} running={status['running']} {status['numerator']}/{status['denominator']}"
        if line != last:
            say(line)
        last = line
        time.sleep(0.02)


def admin(addresses: str, method: str, *words: str) -> None:
    client = gearman.GearmanAdminClient(hosts(addresses))
    say(getattr(client, method)(*words))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"worker": worker, "call": call, "submit": submit, "follow": follow, "admin": admin}[command](*arguments)
