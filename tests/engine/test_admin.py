"""The text protocol, byte for byte."""

import os

import pytest

from geartrain.protocol.commands import Command as C
from tests.engine.harness import World


@pytest.fixture
def world() -> World:
    return World()


def test_status_and_workers(world: World) -> None:
    admin, worker = world.peer(), world.worker(b"a", b"b")
    worker.say(C.SET_CLIENT_ID, b"my worker")
    world.peer().say(C.SUBMIT_JOB_HIGH_BG, b"a", b"u1", b"")
    assert admin.line("STATUS") == "a\t1\t0\t1\nb\t0\t0\t1\n.\n"
    assert admin.line("prioritystatus\r") == "a\t1\t0\t0\t1\nb\t0\t0\t0\t1\n.\n"
    assert "7 127.0.0.1 my worker : b a\n" in admin.line("workers")
    assert admin.line("show unique jobs") == "u1\n.\n"
    assert admin.line("show jobs") == "H:test:1\t0\t0\t1\n.\n"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", "ERR UNKNOWN_COMMAND Unknown+server+command\r\n"),
        ("nonsense x", "ERR UNKNOWN_COMMAND Unknown+server+commandnonsense\r\n"),
        ("show", "ERR UNKNOWN_COMMAND Unknown+server+commandshow\r\n"),
        ("show x", "ERR UNKNOWN_SHOW_ARGUMENTS\r\n"),
        ("cancel foo bar", "ERR UNKNOWN_ERROR\r\n"),
        ("cancel job H:x:1", "ERR UNKNOWN_JOB\r\n"),
        ("create", "ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+create\r\n"),
        ("drop", "ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+drop\r\n"),
        ("maxqueue", "ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+maxqueue\r\n"),
        ("drop function nothing", "ERR function not found\r\n"),
        ("maxqueue nothing 5", "OK\r\n"),
        ("version", "OK 2.0.0\n"),
        ("verbose", "OK ERROR\n"),
    ],
)
def test_answers(world: World, line: str, answer: str) -> None:
    assert world.peer().line(line) == answer


def test_getpid(world: World) -> None:
    assert world.peer().line("getpid") == f"OK {os.getpid()}\n"


def test_functions_are_made_and_dropped(world: World) -> None:
    admin = world.peer()
    assert admin.line("create function bar") == "OK\r\n"
    assert admin.line("status") == "bar\t0\t0\t0\n.\n"
    worker = world.worker(b"bar")
    assert admin.line("drop function bar") == "ERR there are still connected workers or executing clients\r\n"
    worker.leave()
    admin.say(C.SUBMIT_JOB_BG, b"bar", b"u", b"").hear()
    assert admin.line("drop function bar") == "OK\r\n"
    assert admin.line("status") == ".\n"
    assert admin.line("show jobs") == ".\n"
    admin.say(C.SUBMIT_JOB_BG, b"bar", b"u", b"").hears((C.JOB_CREATED, b"H:test:2"))
    world.check()


def test_shutdown_is_for_this_machine(world: World) -> None:
    assert world.peer(trusted=False).line("shutdown").startswith("ERR PERMISSION_DENIED ")
    assert world.shutdowns == []
    assert world.peer().line("shutdown") == "OK\r\n"
    assert world.peer().line("shutdown graceful") == "OK\r\n"
    assert world.shutdowns == [False, True]


def test_a_cancelled_running_job_is_forgotten(world: World) -> None:
    client, worker = world.peer(), world.worker(b"f", asleep=False)
    client.say(C.SUBMIT_JOB, b"f", b"u", b"").hear()
    worker.say(C.GRAB_JOB)
    assert world.peer().line("cancel job H:test:1") == "OK\r\n"
    client.hears((C.WORK_FAIL, b"H:test:1"))
    client.say(C.SUBMIT_JOB, b"f", b"u", b"").hears((C.JOB_CREATED, b"H:test:2"))
    worker.leave()
    world.check()


def test_too_many_words_close(world: World) -> None:
    peer = world.peer()
    assert peer.line("maxqueue a b c d e f g h").startswith("ERR ")
    assert peer.peer.closing
