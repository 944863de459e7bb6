"""A guest written with gear (OpenStack's library): worker, call, submit, status and the text commands.

with_gear.py worker ADDRESS FUNCTION...
with_gear.py call ADDRESS PRECEDENCE UNIQUE FUNCTION=WORKLOAD...     prints each event, until all have ended
with_gear.py submit ADDRESS PRECEDENCE UNIQUE FUNCTION=WORKLOAD...   prints the handles
with_gear.py follow ADDRESS FUNCTION=WORKLOAD    a background job's status, until the server forgets it
with_gear.py admin ADDRESS COMMAND [ARGUMENT]
"""

import os
import sys
import threading
import time
from pathlib import Path

import gear

# With TLS where the environment names its files.
TLS = [os.environ.get(name) for name in ("GEARMAN_CLIENT_KEY", "GEARMAN_CLIENT_PEM", "GEARMAND_CA_CERTIFICATE")]
PRECEDENCE = {"high": gear.PRECEDENCE_HIGH, "normal": gear.PRECEDENCE_NORMAL, "low": gear.PRECEDENCE_LOW}


def say(*words: object) -> None:
    print(*words, flush=True)


def connect(peer: gear.BaseClient, addresses: str) -> None:
    for address in addresses.split(","):
        host, _, port = address.partition(":")
        peer.addServer(host, int(port), *TLS)
    peer.waitForServer(timeout=5)
    deadline = time.monotonic() + 5
    while peer.inactive_connections and time.monotonic() < deadline:
        time.sleep(0.01)  # a function that is registered while gear connects is never told to that server


def story(job: gear.WorkerJob) -> bytes:
    job.sendWorkData(b"one")
    job.sendWorkWarning(b"careful")
    job.sendWorkStatus(1, 2)
    job.sendWorkData(b"two")
    job.sendWorkStatus(2, 2)
    return b"three"


def gate(job: gear.WorkerJob) -> bytes:
    job.sendWorkStatus(1, 4)
    return Path(job.arguments.decode()).read_bytes()


def note(job: gear.WorkerJob) -> bytes:
    say(job.arguments.decode())
    return b""


ABILITIES = {
    "reverse": lambda job: job.arguments[::-1],
    "story": story,
    "describe": lambda job: b" ".join([job.handle, job.name.encode(), job.unique, b"%d" % len(job.arguments)]),
    "gate": gate,
    "note": note,
}


def worker(addresses: str, *functions: str) -> None:
    peer = gear.Worker("gear-1")
    connect(peer, addresses)
    for name in functions:
        peer.registerFunction(name)
    while True:
        job = peer.getJob()
        if job.name == "fail":
            job.sendWorkFail()
        elif job.name == "exception":
            job.sendWorkException(b"it broke")
        else:
            job.sendWorkComplete(ABILITIES[job.name](job))


class Telling(gear.Client):
    """Prints every event of its jobs."""

    places: dict[gear.Job, int] = {}  # noqa: RUF012

    def handleWorkData(self, packet):
        job = super().handleWorkData(packet)
        say("data", self.places[job], packet.getArgument(1, True).decode())
        return job

    def handleWorkWarning(self, packet):
        job = super().handleWorkWarning(packet)
        say("warning", self.places[job], packet.getArgument(1, True).decode())
        return job

    def handleWorkStatus(self, packet):
        job = super().handleWorkStatus(packet)
        say("status", self.places[job], f"{job.numerator.decode()}/{job.denominator.decode()}")
        return job

    def handleWorkComplete(self, packet):
        job = super().handleWorkComplete(packet)
        self.end("complete", job, packet.getArgument(1, True).decode())
        return job

    def handleWorkFail(self, packet):
        job = super().handleWorkFail(packet)
        self.end("fail", job)
        return job

    def handleWorkException(self, packet):
        job = super().handleWorkException(packet)
        self.end("exception", job, job.exception.decode())
        return job

    def end(self, name: str, job: gear.Job, *words: object) -> None:
        say(name, self.places.pop(job), *words)
        if not self.places:
            ended.set()


ended = threading.Event()


def jobs_of(words: tuple[str, ...], unique: str) -> list[gear.Job]:
    pairs = (word.partition("=") for word in words)
    return [gear.Job(name, workload.encode(), unique or None) for name, _, workload in pairs]


def call(addresses: str, precedence: str, unique: str, *words: str) -> None:
    client = Telling("gear-client")
    connect(client, addresses)
    if not client.setOption("exceptions"):
        say("no exceptions")
    jobs = jobs_of(words, unique)
    client.places.update({job: place for place, job in enumerate(jobs, 1)})
    for job in jobs:
        client.submitJob(job, precedence=PRECEDENCE[precedence])
    ended.wait(10)


def submit(addresses: str, precedence: str, unique: str, *words: str) -> None:
    client = gear.Client("gear-client")
    connect(client, addresses)
    for job in jobs_of(words, unique):
        try:
            client.submitJob(job, background=True, precedence=PRECEDENCE[precedence], timeout=5)
        except gear.GearmanError as error:
            say("refused", error)
        else:
            say(job.handle.decode())


def follow(addresses: str, word: str) -> None:
    client = gear.Client("gear-client")
    connect(client, addresses)
    [job] = jobs_of((word,), "")
    client.submitJob(job, background=True)
    job.known = None
    last = ""
    while job.known is not False:
        job.known = None
        packet = gear.Packet(gear.constants.REQ, gear.constants.GET_STATUS, job.handle)
        client.sendPacket(packet, job.connection)
        while job.known is None:
            time.sleep(0.01)
        line = f"known={job.known} running={job.running} {job.numerator.decode()}/{job.denominator.decode()}"
        if line != last:
            say(line)
        last = line


def admin(addresses: str, command: str, *words: str) -> None:
    client = gear.Client("gear-client")
    connect(client, addresses)
    kinds = {
        "status": gear.StatusAdminRequest,
        "show jobs": gear.ShowJobsAdminRequest,
        "show unique jobs": gear.ShowUniqueJobsAdminRequest,
        "cancel job": gear.CancelJobAdminRequest,
        "version": gear.VersionAdminRequest,
        "workers": gear.WorkersAdminRequest,
    }
    request = kinds[command](*words)
    client.getConnection().sendAdminRequest(request, timeout=5)
    print(request.response.decode(), end="", flush=True)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"worker": worker, "call": call, "submit": submit, "follow": follow, "admin": admin}[command](*arguments)
    sys.stdout.flush()
    # The library's threads wait for a second where nothing comes; the test need not.
    os._exit(0)
