"""The notation of the transcripts: text files to dialogues.

Owns the grammar (README.md has it with examples) and the errors a writer of transcripts sees.
Must not know sockets or servers.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from geartrain.protocol.commands import Command

REQUEST = b"\0REQ"
RESPONSE = b"\0RES"

SERVERS = ("gearmand", "geartrain")

_NAMES = {int(command): command.name for command in Command}
_ESCAPES = {"0": b"\0", "n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\", "|": b"|", "{": b"{", "}": b"}", "s": b" "}
_TOKEN = re.compile(r"\\x(?P<hex>[0-9a-fA-F]{2})|\\(?P<escape>.)|\{(?P<mask>[^{}]*)\}|(?P<bar>\|)|(?P<plain>[^\\{|]+)")
_REPEAT = re.compile(r"(?P<what>.)\*(?P<times>\d+)")
_NOW = re.compile(r"now(?P<offset>[+-]\d+)?")
_HANDLE = rb"[^\0\s]+:\d+"
_MASKS = {"*": rb"[\s\S]*", "pid": rb"\d+", "fd": rb"\d+", "version": rb"\S+", "number": rb"\d+"}


class NotationError(Exception):
    """A transcript cannot be understood."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A part that differs from run to run: a handle (bound where it is first seen), a pid, the time."""

    name: str


Piece = bytes | Mask


@dataclass(frozen=True, slots=True)
class Template:
    """Bytes with masks in them."""

    pieces: tuple[Piece, ...]

    def fill(self, bound: Mapping[str, bytes], now: Callable[[], float]) -> bytes:
        """The bytes to send.

        Raises:
            NotationError: a handle is used that no reply has named yet.
        """
        out = bytearray()
        for piece in self.pieces:
            if isinstance(piece, bytes):
                out += piece
            elif time := _NOW.fullmatch(piece.name):
                out += b"%d" % (int(now()) + int(time["offset"] or 0))
            elif piece.name in bound:
                out += bound[piece.name]
            else:
                raise NotationError(f"{{{piece.name}}} was not seen in a reply before")
        return bytes(out)

    def match(self, data: bytes, bound: dict[str, bytes]) -> bool:
        """Whether the bytes are as expected. Handles seen for the first time are bound."""
        pattern, names = bytearray(), []
        for piece in self.pieces:
            if isinstance(piece, bytes):
                pattern += re.escape(piece)
            elif piece.name in _MASKS:
                pattern += _MASKS[piece.name]
            elif piece.name in bound:
                pattern += re.escape(bound[piece.name])
            elif piece.name in names:
                pattern += b"(?P=%s)" % piece.name.encode()
            else:
                names.append(piece.name)
                pattern += b"(?P<%s>%s)" % (piece.name.encode(), _HANDLE)
        found = re.fullmatch(bytes(pattern), data)
        if not found:
            return False
        for name in names:
            if found[name] in bound.values():
                return False  # two names are two jobs
            bound[name] = found[name]
        return True


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it is written in a transcript."""

    command: int
    body: Template
    magic: bytes = REQUEST


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the text protocol, without its newline."""

    text: Template


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they are."""

    data: Template


Message = Packet | Line | Raw


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a dialogue.

    Attributes:
        number: its line in the file.
        text: the line as it is written.
        peer: the connection's name; empty for steps of the server itself.
        action: ``send``, ``expect`` or the word in parentheses.
        messages: what is sent or expected; several for ``any order``.
        argument: seconds, a signal's name, or bytes per write.
        only: the server it is for; empty for both.
    """

    number: int
    text: str
    peer: str
    action: str
    messages: tuple[Message, ...] = ()
    argument: str = ""
    only: str = ""


@dataclass(slots=True)
class Dialogue:
    """A title, the server's options, and the steps."""

    file: Path
    number: int
    title: str
    options: list[tuple[str, str]] = field(default_factory=list)
    """(server it is for or empty for both, option)"""
    steps: list[Step] = field(default_factory=list)
    rows: set[str] = field(default_factory=set)
    """The rows of docs/differences.md that it shows."""

    def for_server(self, server: str) -> tuple[list[str], list[Step]]:
        """The options and steps that concern one server."""
        options = [option for only, option in self.options if only in ("", server)]
        return options, [step for step in self.steps if step.only in ("", server)]


def template(text: str) -> Template:
    """Text with escapes and masks; ``|`` is a NUL."""
    return _template(text, bar=b"\0")


def _template(text: str, bar: bytes) -> Template:
    pieces: list[Piece] = []

    def add(data: bytes) -> None:
        if pieces and isinstance(pieces[-1], bytes):
            pieces[-1] += data
        else:
            pieces.append(data)

    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise NotationError(f"cannot read {text[position:]!r}")
        position = token.end()
        if token["hex"]:
            add(bytes.fromhex(token["hex"]))
        elif token["escape"]:
            if token["escape"] not in _ESCAPES:
                raise NotationError(f"unknown escape \\{token['escape']}")
            add(_ESCAPES[token["escape"]])
        elif token["bar"]:
            add(bar)
        elif token["plain"]:
            add(token["plain"].encode())
        elif repeat := _REPEAT.fullmatch(token["mask"]):
            add(repeat["what"].encode() * int(repeat["times"]))
        else:
            pieces.append(Mask(token["mask"]))
    return Template(tuple(pieces))


def message(text: str, magic: bytes) -> Message:
    """What stands behind ``>`` or ``<``: a packet, a line of text, or raw bytes."""
    word, _, rest = text.partition(" ")
    if word == "RES":
        return message(rest, RESPONSE)
    if word == "hex":
        return Raw(Template((bytes.fromhex(rest),)))
    if word == "raw":
        return Raw(_template(rest, bar=b"|"))
    if word.startswith("#") and word[1:].isdigit():
        return Packet(int(word[1:]), template(rest), magic)
    if word in Command.__members__:
        return Packet(Command[word], template(rest), magic)
    if re.fullmatch(r"[A-Z]+_[A-Z_]+", word) and magic == REQUEST:
        raise NotationError(f"there is no packet type {word}")
    return Line(_template(text, bar=b"|"))


_STEP = re.compile(r"(?P<peer>\w+) (?P<sign>[<>]) (?P<what>.+)")
_ACTION = re.compile(r"(?P<peer>\w+) (?:< )?\((?P<what>[^)]*)\)")
_ANY_ORDER = re.compile(r"(?P<peer>\w+) < \(any order\)")
_CHUNKED = re.compile(r"(?P<peer>\w+) > \((?P<size>\d+) bytes? at a time\) (?P<what>.+)")
_SERVER = re.compile(r"\((?P<what>[^)]*)\)")
_ONLY = re.compile(r"only (?P<server>\w+), (?P<row>[\w-]+):")
_OPTIONS = re.compile(r"options(?: of (?P<server>\w+))?: (?P<options>.+)")
_WORDS = {
    "": re.compile(
        r"(?P<action>wait) (?P<argument>[\d.]+) s|(?P<action2>signal) (?P<argument2>\w+)|(?P<action3>the server ends)"
    ),
    "peer": re.compile(
        r"(?P<action>connect|close|half-close|closed|nothing|forgotten)"
        r"|(?P<action2>silence) for (?P<argument2>[\d.]+) s"
    ),
}


def _action(text: str, kind: str) -> tuple[str, str]:
    found = _WORDS[kind].fullmatch(text)
    if not found:
        raise NotationError(f"({text}) is not known here")
    groups = found.groupdict()
    action = next(value for name, value in groups.items() if name.startswith("action") and value)
    argument = next((value for name, value in groups.items() if name.startswith("argument") and value), "")
    return action, argument


def parse(file: Path) -> list[Dialogue]:
    """All dialogues of a file.

    Raises:
        NotationError: the file has a mistake; the text names its line.
    """
    dialogues: list[Dialogue] = []
    only = ""
    any_order: tuple[int, str, str] | None = None
    collected: list[Message] = []

    def flush() -> None:
        nonlocal any_order
        if any_order is not None:
            number, text, peer = any_order
            dialogues[-1].steps.append(Step(number, text, peer, "any order", tuple(collected), only=only))
            collected.clear()
            any_order = None

    for number, line in _lines(file):
        try:
            indent = len(line) - len(line.lstrip())
            text = line.lstrip()
            if any_order is not None and indent > (4 if only else 0):
                collected.append(message(text, RESPONSE))
                continue
            flush()
            if indent == 0:
                only = ""
            elif not only:
                raise NotationError("is indented, but belongs to no block")
            if text.startswith("== "):
                dialogues.append(Dialogue(file, number, text[3:]))
                continue
            if not dialogues:
                raise NotationError("comes before the first title (== ...)")
            dialogue = dialogues[-1]
            if found := _OPTIONS.fullmatch(text):
                dialogue.options += [(found["server"] or only, option) for option in found["options"].split()]
            elif found := _ONLY.fullmatch(text):
                if found["server"] not in SERVERS:
                    raise NotationError(f"there is no server {found['server']}, only {' and '.join(SERVERS)}")
                only = found["server"]
                dialogue.rows.add(found["row"])
            elif found := _ANY_ORDER.fullmatch(text):
                any_order = (number, text, found["peer"])
            else:
                dialogue.steps.append(_step(number, text, only))
        except (NotationError, ValueError) as error:
            raise NotationError(f"{file}:{number}: {line.strip()!r}: {error}") from error
    flush()
    return dialogues


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("# "):
            yield number, line


def _step(number: int, text: str, only: str) -> Step:
    if found := _CHUNKED.fullmatch(text):
        return Step(number, text, found["peer"], "send", (message(found["what"], REQUEST),), found["size"], only)
    if found := _ACTION.fullmatch(text):
        action, argument = _action(found["what"], "peer")
        return Step(number, text, found["peer"], action, (), argument, only)
    if found := _SERVER.fullmatch(text):
        action, argument = _action(found["what"], "")
        return Step(number, text, "", action, (), argument, only)
    if found := _STEP.fullmatch(text):
        sending = found["sign"] == ">"
        what = message(found["what"], REQUEST if sending else RESPONSE)
        return Step(number, text, found["peer"], "send" if sending else "expect", (what,), "", only)
    raise NotationError("is neither a step, nor options, nor a block")


def show(unit: bytes) -> str:
    """What came, in the notation of the transcripts."""
    if not unit.startswith(b"\0"):
        return _show(unit.removesuffix(b"\n"), bar="|")
    number, body = int.from_bytes(unit[4:8]), unit[12:]
    name = _NAMES.get(number, f"#{number}")
    magic = {RESPONSE: "", REQUEST: "REQ "}.get(unit[:4], f"{unit[:4]!r} ")
    shown = _show(body, bar="\\|").replace("\\0", "|")
    return f"{magic}{name} {shown}".rstrip()


def _show(data: bytes, bar: str) -> str:
    names = {0: "\\0", 9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\", 123: "\\{", 124: bar, 125: "\\}"}
    return "".join(names.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data)
