"""Talks to a gearmand over the wire: submits background jobs, runs what it has."""

import socket
from collections.abc import Sequence
from typing import NamedTuple

from geartrain.protocol.commands import Command
from geartrain.protocol.packets import HEADER, HEADER_SIZE, request, split

__all__ = ["Ran", "drain", "submit"]

SUBMIT = {0: Command.SUBMIT_JOB_HIGH_BG, 1: Command.SUBMIT_JOB_BG, 2: Command.SUBMIT_JOB_LOW_BG}


class Ran(NamedTuple):
    """A job as a worker got it."""

    function: bytes
    unique: bytes
    workload: bytes


class _Peer:
    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        self.file = self.sock.makefile("rb")

    def send(self, command: Command, *parts: bytes) -> None:
        self.sock.sendall(request(command, *parts))

    def receive(self) -> tuple[Command, list[bytes]]:
        _, number, size = HEADER.unpack(self.file.read(HEADER_SIZE))
        command = Command(number)
        return command, split(command, self.file.read(size))

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def submit(port: int, function: bytes, unique: bytes, workload: bytes, priority: int = 1, when: int = 0) -> bytes:
    """Submits a background job; its handle."""
    peer = _Peer(port)
    try:
        if when:
            peer.send(Command.SUBMIT_JOB_EPOCH, function, unique, b"%d" % when, workload)
        else:
            peer.send(SUBMIT[priority], function, unique, workload)
        command, parts = peer.receive()
        assert command is Command.JOB_CREATED, (command, parts)
        return parts[0]
    finally:
        peer.close()


def drain(port: int, functions: Sequence[bytes]) -> list[Ran]:
    """Runs every job that is ready, in the order in which it is given out."""
    peer = _Peer(port)
    ran = []
    try:
        for function in functions:
            peer.send(Command.CAN_DO, function)
        while True:
            peer.send(Command.GRAB_JOB_UNIQ)
            command, parts = peer.receive()
            if command is Command.NO_JOB:
                # What was sent before is handled when this is answered: the last row is deleted, too.
                peer.send(Command.ECHO_REQ, b"done")
                assert peer.receive()[0] is Command.ECHO_RES
                return ran
            assert command is Command.JOB_ASSIGN_UNIQ, command
            handle, name, unique, workload = parts
            ran.append(Ran(name, unique, workload))
            peer.send(Command.WORK_COMPLETE, handle, b"")
    finally:
        peer.close()
