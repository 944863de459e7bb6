"""Plays every dialogue of this folder on the C gearmand and on ours, and compares the replies byte for byte."""

import os
import re
from pathlib import Path

import pytest

from geartrain.protocol.commands import LAYOUTS, Command, Sender

from .notation import SERVERS, Dialogue, NotationError, Packet, parse
from .runner import Player
from .servers import GEARMAND, running

HERE = Path(__file__).parent
DIFFERENCES = HERE.parents[1] / "docs" / "differences.md"
DIALOGUES = [dialogue for file in sorted(HERE.glob("*.txt")) for dialogue in parse(file)]


def _name(dialogue: Dialogue) -> str:
    return f"{dialogue.file.stem}: {dialogue.title}"


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("dialogue", DIALOGUES, ids=_name)
def test_transcript(dialogue: Dialogue, server: str, tmp_path: Path) -> None:
    if server == "gearmand" and GEARMAND is None:
        message = "the C gearmand is not installed (Debian: apt-get install gearman-job-server)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    options, steps = dialogue.for_server(server)
    with running(server, options, tmp_path) as process:
        Player(process).play(steps)


def rows(text: str) -> set[str]:
    """The rows of a part of docs/differences.md, by their names."""
    return set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))


def test_differences_on_the_wire_are_those_that_the_dialogues_show() -> None:
    wire = DIFFERENCES.read_text("utf-8").split("\n## On the wire\n")[1].split("\n## ")[0]
    assert {row for dialogue in DIALOGUES for row in dialogue.rows} == rows(wire)


def test_every_title_is_there_once() -> None:
    names = [_name(dialogue) for dialogue in DIALOGUES]
    assert len(names) == len(set(names))


def test_every_packet_type_that_can_be_sent_is_sent() -> None:
    sent = {
        message.command
        for dialogue in DIALOGUES
        for step in dialogue.steps
        if step.action == "send"
        for message in step.messages
        if isinstance(message, Packet)
    }
    assert set(Command) <= sent


def test_every_packet_type_that_a_server_sends_is_expected() -> None:
    expected = {
        message.command
        for dialogue in DIALOGUES
        for step in dialogue.steps
        if step.action in ("expect", "any order")
        for message in step.messages
        if isinstance(message, Packet)
    }
    servers = {command for command, layout in LAYOUTS.items() if layout.sender in (Sender.SERVER, Sender.BOTH)}
    assert servers <= expected


def test_a_mistake_in_a_transcript_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "wrong.txt"
    file.write_text("== title\nclient > ECHO_REQ x\nclient shouts\n")
    with pytest.raises(NotationError, match=r"wrong.txt:3: 'client shouts': is neither a step"):
        parse(file)
