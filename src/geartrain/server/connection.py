"""Connection: one socket of the job server.

Owns reading into the parser, one write per turn, backpressure, and the end of the connection. What the packets
mean is the engine's.
"""

import errno
import logging
import socket
import ssl
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from geartrain.engine.dispatch import receive, receive_large, refuse_stream
from geartrain.engine.job import Pieces
from geartrain.engine.peer import Link
from geartrain.protocol.packets import REQUEST_MAGIC
from geartrain.protocol.parser import Parser
from geartrain.server.pipes import KEEP_FROM, Intake
from geartrain.server.unsent import Unsent, at_once

if TYPE_CHECKING:
    from geartrain.engine.engine import Engine
    from geartrain.engine.peer import Peer
    from geartrain.engine.stats import ServerStats
    from geartrain.protocol.parser import Item
    from geartrain.server.listener import Hub

__all__ = ["Connection"]

logger: Final = logging.getLogger("geartrain.server")

READ_SIZE: Final = 127 * 1024
"""Bytes of one read: just below glibc's mmap threshold, or every read would map and unmap memory."""
LARGEST_READ: Final = 4 * 1024 * 1024
_HEAD_SIZE: Final = 4096
"""Bytes of a read where large packets come: what is read with the head of one cannot be kept."""
_ONLY_FROM: Final = 32 * 1024
"""Missing bytes of a packet from which a read takes these alone: what came behind them would have to be copied."""
PAUSE_READING: Final = 16 * 1024 * 1024
"""Unread replies, in bytes, at which no more requests are taken from a peer until it reads."""
_SLICE: Final = 128
"""Packets that are served before the clock is looked at."""
_LONG: Final = 0.01
"""Seconds after which a peer that sent much waits for its next turn: the others have theirs first."""
_MUCH: Final = 1024 * 1024
"""Bytes of text answers after which it waits as well: `status` asks for megabytes with seven bytes."""


class _Gone(Link):
    """The link of a peer whose connection has ended: peer and connection must not hold each other in memory."""

    def flush(self) -> None:
        """Nobody reads it any more."""

    def broken(self, error: BaseException) -> None:
        raise error


_GONE: Final = _Gone()


class Connection:
    """A plain connection.

    Attributes:
        engine: gets what is read.
        peer: what the engine knows of it.
        proven: whether a whole packet or line has come, or nobody waits for it.
    """

    __slots__ = (
        "_backlog",
        "_backlog_done",
        "_hub",
        "_intake",
        "_keeps",
        "_parser",
        "_paused",
        "_read_size",
        "_sock",
        "_stats",
        "_unsent",
        "_writing",
        "engine",
        "fd",
        "peer",
        "proven",
    )

    def __init__(self, hub: "Hub", sock: socket.socket, address: str, trusted: bool) -> None:
        self._hub = hub
        self._stats: ServerStats = hub.stats  # these two are needed for each packet
        self.engine: Engine = hub.engine
        self._sock = sock
        self.fd = sock.fileno()
        self._parser = Parser(REQUEST_MAGIC, hub.max_packet)
        self._read_size = READ_SIZE
        self._intake: Intake | None = None  # a large packet that is coming in, and is kept
        self._keeps = True  # whether that pays here
        self._unsent: Unsent | None = None  # most often there is nothing
        self._writing = False
        self._paused = False
        self._backlog: list[Item] | None = None  # what was read and must wait for the next turn, and how far it is done
        self._backlog_done = 0
        self.proven = False
        self.peer: Peer = self.engine.connect(self, address.encode(), self.fd, trusted, monotonic())

    # ---- in

    def readable(self) -> None:
        if self._backlog is not None:
            return  # the kernel tells of a hang-up; what came before it comes first
        parser = self._parser
        missing = parser.missing
        if missing >= KEEP_FROM and self._keep():
            return
        try:
            data = self._sock.recv(self._read_size if missing < _ONLY_FROM else min(missing, LARGEST_READ))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        self._take(data)
        if len(data) == _HEAD_SIZE and parser.missing < KEEP_FROM:
            self._read_size = READ_SIZE

    def _keep(self) -> bool:
        """Takes what is missing of a large packet without looking at it. Returns False where that cannot be."""
        intake = self._intake
        if intake is None:
            begun = self._parser.begun() if self._keeps else None
            if begun is None:
                return False
            intake = self._intake = Intake(self._hub.pipes, begun, self._parser.missing)
        try:
            count = intake.read(self.fd)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError as error:
            self._lost(error)
            return True
        if count is None:
            self._intake = None
            self._keeps = not intake.small
            data = intake.taken()
            self._stats.bytes_in -= len(data)  # which are counted again
            if data:
                self._take(data)
            return bool(data)
        self._stats.bytes_in += count
        if not count:
            self._intake = None
            self._eof()
        elif not intake.missing:
            self._intake = None
            self._read_size = _HEAD_SIZE
            self._parser.forget()
            self._is_proven()
            receive_large(self.engine, self.peer, intake.item, Pieces(intake.data()), monotonic())
        return True

    def _is_proven(self) -> None:
        if not self.proven:
            self.proven = True
            self._hub.proven(self)

    def _take(self, data: bytes) -> None:
        if not data:
            self._eof()
            return
        self._stats.bytes_in += len(data)
        parser = self._parser
        items = parser.feed(data)
        if items:
            if not self.proven:
                self._is_proven()
            if len(items) <= _SLICE and not parser.lines:
                receive(self.engine, self.peer, items, monotonic())
            elif not self._serve(items, 0):
                return
        if parser.fault is not None:
            self._check_fault()

    def _check_fault(self) -> None:
        fault = self._parser.fault
        if fault is not None and not self.peer.closing:
            self._hub.complain(self.peer.address.decode(), f"{fault.text}; the connection is closed")
            refuse_stream(self.engine, self.peer, fault)

    def _serve(self, items: "list[Item]", done: int) -> bool:
        """Serves much in slices, so that no peer keeps the others waiting or fills the memory with its answers.

        Returns:
            whether all is done. If not, it goes on when the socket takes output, which is at once for a peer that
            reads; until then nothing more is read.
        """
        engine = self.engine
        peer = self.peer
        now = monotonic()
        until = now + _LONG
        size = 1 if self._parser.lines else _SLICE
        written = 0
        while now < until and written < _MUCH and not peer.closing:
            receive(engine, peer, items[done : done + size], now)
            done += size
            if done >= len(items):
                return True
            if size == 1 and peer.out:
                written += len(peer.out[-1])
            now = monotonic()
        if peer.closing:
            return True
        self._backlog = items
        self._backlog_done = done
        self._writing = True
        self._paused = True
        self._hub.reactor.watch(self.fd, self, False, True)
        return False

    def _resume(self) -> None:
        """Goes on with what had to wait."""
        items = self._backlog
        if items is None or self._unsent is not None or self.fd < 0:
            return
        self._backlog = None
        if self._serve(items, self._backlog_done):
            self._writing = False
            self._paused = False
            self._listen()
            self._check_fault()

    def _eof(self) -> None:
        """The peer sends no more. What it asked for is still answered, since it may have closed one half only."""
        self._paused = True
        self._writing = self._unsent is not None
        if self._writing:
            self._hub.reactor.watch(self.fd, self, False, True)
        else:
            self._hub.reactor.unwatch(self.fd)
        self.engine.leave(self.peer, monotonic())
        self.engine.close(self.peer)

    # ---- out

    @property
    def unsent(self) -> int:
        """Bytes of output that the socket did not take yet."""
        return self._unsent.size if self._unsent is not None else 0

    def flush(self) -> None:
        peer = self.peer
        ready = peer.ready
        if ready:
            if self._unsent is None:
                self._send(ready)
            else:
                self._queue(ready)
                if self.fd >= 0:
                    self._await_writable()  # more may wait now than a peer is allowed before it reads
        if peer.closing and self._unsent is None and peer.held is None:
            self._close()

    def _send(self, ready: list[Any]) -> None:
        """Sends a turn's output with one call: joined, or from where it lies when a piece of it is large.

        Args:
            ready: bytes; and what is kept, if the peer has `large`.
        """
        large = self.peer.large
        if large and not at_once(ready):
            self._queue(ready)
            self._send_unsent()
            return
        try:
            if large:
                self.peer.large = self.peer.held is not None  # what is held back may be large, too
                size = sum(map(len, ready))
                sent = self._sock.sendmsg(ready)
            else:
                if len(ready) > 1:
                    ready[:] = (b"".join(ready),)
                size = len(ready[0])
                sent = self._sock.send(ready[0])
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._lost(error)
            return
        self._stats.bytes_out += sent
        if sent < size:
            self._unsent = Unsent()
            self._unsent.add(ready)
            self._unsent.drop(sent)
            self._await_writable()
        ready.clear()

    def _queue(self, ready: list[Any]) -> None:
        """Puts output behind what the socket did not take."""
        unsent = self._unsent
        if unsent is None:
            unsent = self._unsent = Unsent()
        if unsent.size > self._hub.max_output:  # before this: one result may be larger than the bound
            logger.error(
                "%s does not read its replies: %d bytes wait, the limit is %d (--max-output); it is dropped",
                self.peer.address.decode(),
                unsent.size,
                self._hub.max_output,
            )
            self._close()
            return
        peer = self.peer
        if peer.large:
            peer.large = peer.held is not None
            unsent.add(ready)
        else:
            unsent.add((b"".join(ready),))
        ready.clear()

    def writable(self) -> None:
        self._send_unsent()
        self._resume()
        if self.peer.closing:
            self.flush()

    def _send_unsent(self) -> None:
        unsent = self._unsent
        if unsent is None:
            return
        before = unsent.size
        try:
            unsent.send(self.fd, self._write)
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._await_writable()
        except OSError as error:
            self._lost(error)
        else:
            self._all_sent()
        self._stats.bytes_out += before - unsent.size

    def _write(self, pieces: list[Any], kept_follows: bool) -> int:
        return self._sock.sendmsg(pieces, (), socket.MSG_MORE if kept_follows else 0)

    def _all_sent(self) -> None:
        self._unsent = None
        if self._writing and self._backlog is None:
            self._writing = False
            self._paused = False
            if self.peer.closing:
                self._hub.reactor.unwatch(self.fd)
            else:
                self._listen()

    def _await_writable(self) -> None:
        pause = self.unsent > PAUSE_READING or self._backlog is not None
        if self.peer.gone:
            pause = self._paused
        if not self._writing or pause != self._paused:
            self._writing = True
            self._paused = pause
            self._hub.reactor.watch(self.fd, self, not pause and not self._hub.deaf, True)

    def _listen(self) -> None:
        self._hub.reactor.watch(self.fd, self, not self._hub.deaf, False)

    def read_no_more(self) -> None:
        """The hub is deaf now. What is to be sent still goes."""
        if not self._paused:
            self._hub.reactor.watch(self.fd, self, False, self._writing)

    # ---- the end

    def broken(self, error: BaseException) -> None:
        logger.error("a fault of the server ends the connection of %s", self.peer.address.decode(), exc_info=error)
        self._close()

    def abort(self, reason: str) -> None:
        """Ends the connection at once."""
        logger.warning("%s: %s; the connection is closed", self.peer.address.decode(), reason)
        self._close()

    def close(self) -> None:
        """Ends the connection at once, without a word."""
        self._close()

    def _lost(self, error: OSError) -> None:
        if error.errno not in (errno.ECONNRESET, errno.EPIPE):
            logger.info("%s: the connection broke: %s", self.peer.address.decode(), error)
        self._close()

    def _close(self) -> None:
        if self.fd < 0:
            return
        hub = self._hub
        hub.reactor.unwatch(self.fd)
        self.fd = -1
        self._unsent = None
        self._intake = None
        self._backlog = None
        self._sock.close()
        hub.closed(self)
        peer = self.peer
        self.engine.leave(peer, monotonic())
        # Peer and connection name each other, and the collector comes seldom: half a packet would stay for hours.
        peer.link = _GONE
        peer.ready.clear()
        self._parser.forget()
