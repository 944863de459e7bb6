"""Makes the corpus's first entries from the transcripts: ``python -m tests.fuzz.seeds``."""

from pathlib import Path

from geartrain.protocol.packets import pack
from tests.fuzz.targets import Step, script
from tests.transcripts.notation import Dialogue, Line, Mask, Packet, Template, parse

HERE = Path(__file__).parent
TRANSCRIPTS = HERE.parent / "transcripts"
WAIT = 3 << 2
COMMIT = 4 << 2
LEAVE = 2 << 2


def _bytes(template: Template, handles: dict[str, bytes]) -> bytes:
    """A template with handles as the engine gives them in that order."""
    out = b""
    for piece in template.pieces:
        if isinstance(piece, Mask):
            out += handles.setdefault(piece.name, b"H:t:%d" % (len(handles) + 1))
        else:
            out += piece[:300]
    return out


def seeds(dialogue: Dialogue) -> tuple[bytes, bytes]:
    """A dialogue as bytes for the parser and for the engine."""
    handles: dict[str, bytes] = {}
    peers: dict[str, int] = {}
    stream = bytearray([len(dialogue.title), 1])
    steps: list[Step] = []
    for step in dialogue.for_server("geartrain")[1]:
        who = peers.setdefault(step.peer, len(peers) % 4)
        if step.action == "send":
            message = step.messages[0]
            if isinstance(message, Packet):
                data = pack(message.magic, message.command, _bytes(message.body, handles))
            elif isinstance(message, Line):
                data = _bytes(message.text, handles) + b"\n"
            else:
                data = _bytes(message.data, handles)
            stream += data
            steps += [(who, data), (COMMIT, b""), (COMMIT, b"")]
        elif step.action == "expect" and isinstance(step.messages[0], Packet):
            _bytes(step.messages[0].body, handles)
        elif step.action in ("close", "half-close"):
            steps.append((LEAVE | who, b""))
        elif step.action == "wait":
            steps.append((WAIT | 7 << 5, b""))
    return bytes(stream), script(sum(map(ord, dialogue.title)) % 32, steps)


def main() -> None:
    """Writes them; what is there already stays."""
    for file in sorted(TRANSCRIPTS.glob("*.txt")):
        for number, dialogue in enumerate(parse(file)):
            for target, data in zip(("parser", "engine"), seeds(dialogue), strict=True):
                if len(data) < 6000:
                    (HERE / "corpus" / target / f"{file.stem}-{number:02}").write_bytes(data)


if __name__ == "__main__":
    main()
