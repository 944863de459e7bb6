"""Plays every dialogue of this folder on the C gearmand and on ours, and compares the replies byte for byte."""

import os
import re
from pathlib import Path

import pytest

from .notation import SERVERS, Dialogue, parse
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


def rows() -> dict[str, str]:
    """The rows of docs/differences.md: id and the whole line."""
    found = re.findall(r"^\| `([\w-]+)` (\|.*)$", DIFFERENCES.read_text("utf-8"), re.MULTILINE)
    return dict(found)


def test_every_difference_is_a_row() -> None:
    used = {row for dialogue in DIALOGUES for row in dialogue.rows}
    assert used <= set(rows())


def test_every_title_is_there_once() -> None:
    names = [_name(dialogue) for dialogue in DIALOGUES]
    assert len(names) == len(set(names))
