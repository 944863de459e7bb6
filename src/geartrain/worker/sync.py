"""The worker for ordinary code.

Owns running tasks: in the calling thread, or, with concurrency above one, in threads. Must not know sockets (links),
the protocol (session), or how a worker is told to stop (stopping).
"""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Self

from geartrain.client.address import Server
from geartrain.client.request import Name
from geartrain.client.sync import Client
from geartrain.errors import ConfigError
from geartrain.worker.base import BaseWorker, Registered, names
from geartrain.worker.job import Job
from geartrain.worker.links import Links
from geartrain.worker.mapping import Aggregate, Mapping
from geartrain.worker.processes import supervise
from geartrain.worker.session import Slots, State, WorkerSession
from geartrain.worker.stopping import LeaveNow, Stopping
from geartrain.worker.threads import Threads

__all__ = ["Worker"]

logger = logging.getLogger("geartrain.worker")


class Worker(BaseWorker):
    """Runs jobs, one at a time or several in threads, for all its servers; it comes back to each by itself."""

    def _set_up(self) -> None:
        self._stopping = Stopping(self.stop_timeout)
        self._all_yours = False
        self._single = False  # work_once: one job at a time, whatever the concurrency
        self._fresh()

    def _fresh(self) -> None:
        self._slots = Slots(1 if self._single else self.concurrency)
        self._ready: deque[Job] = deque()
        self._links = Links(self.pool, self._tls, self.connect_timeout, self._session_for, self._note_loss)

    def _session_for(self, server: Server) -> WorkerSession:
        return self._new_session(server, self._all_yours)

    def _accept(self, registered: Registered, function: Name) -> None:
        if registered.asynchronous:
            raise ConfigError(f"{function!r} is a coroutine function; AsyncWorker runs those")

    def _each_session(self, act: Callable[[WorkerSession], None]) -> None:
        with self._links.lock:
            for link in self._links.links.values():
                act(link.session)
        self._pump()

    def _pump(self) -> None:
        if self._stopping.asked:
            self._slots.closed = True
        self._links.pump()

    # Running for ever.

    def work(self, processes: int = 1) -> None:
        """Runs jobs until `stop` is called or SIGTERM or SIGINT comes; then lets those that run end, and leaves.

        Args:
            processes: how many processes do this, each with `concurrency` threads. They are forked, and started
                again when they die; this one only watches them then.
        """
        if processes > 1:
            supervise(self.work, processes, self._stopping)
            return
        self._begin(single=False)
        logger.info("working on %s for %s", names(self.functions), ", ".join(map(str, self.pool.servers)))
        threads = Threads(self.concurrency)
        self._threads = threads
        try:
            with self._stopping.watched(self._links.wake, self.handle_signals):
                self._loop(self._run_ready if self.concurrency == 1 else self._hand_out)
        except LeaveNow:
            pass
        finally:
            busy = sum(len(link.session.jobs) for link in self._links.links.values())
            if busy:
                logger.warning("left while %d jobs were running; the server gives them to others", busy)
            threads.close()
            self.close()
            self._stopping.reset()

    def _begin(self, single: bool) -> None:
        if self._single != single or not self._links.links:
            self._all_yours = not single  # a job that is sent unasked must not wait for the next work_once
        if self._single != single:
            self._single = single
            self.close()
        self._links.open()

    def _loop(self, run: Callable[[], None]) -> None:
        links = self._links
        while not self._left():
            links.turn(self._stopping.remaining())
            self._collect()
            if self._ready:
                run()
            else:
                self._pump()

    def _left(self) -> bool:
        """Whether it is time to leave: asked to, and nothing runs or is on its way; or no more patience."""
        if not self._stopping.asked:
            return False
        self._slots.closed = True
        if self._stopping.late:
            return True
        self._links.impatient = True
        with self._links.lock:
            sessions = [link.session for link in self._links.links.values()]
        if any(session.jobs or session.awaiting or session.out for session in sessions):
            return False
        if any(session.state is State.OFFERED for session in sessions):
            self._links.turn(0.0)  # a last look: a job that came unasked would be thrown back
            self._collect()
            self._run_ready()
        return True

    def _collect(self) -> None:
        for link in list(self._links.links.values()):  # a task's thread may find one lost
            if link.session.assigned:
                self._ready.extend(link.session.assigned)
                link.session.assigned.clear()

    def _run_ready(self) -> None:
        while self._ready:
            self._run(self._ready.popleft())
            self._pump()

    def _hand_out(self) -> None:
        while self._ready:
            self._threads.run(partial(self._run_in_thread, self._links, self._ready.popleft()))
        self._pump()

    def _run_in_thread(self, links: Links, job: Job) -> None:
        self._run(job)
        self._pump()
        if self._stopping.asked:
            links.wake()

    # One job.

    def _run(self, job: Job) -> None:
        session = job.session
        packet = None if job.lost else self._outcome(job)
        with self._links.lock:
            session.release(job, packet)

    def _outcome(self, job: Job) -> bytes | None:
        """Runs a job's task. Returns the packet that ends the job, None where the task has ended it."""
        registered = self._prepare(job)
        if registered is None:
            return self._unknown(job)
        job.send = self._send
        try:
            if job.reducer and registered.aggregate is not None:
                return self._completed(job, self._mapped(job, registered.call, registered.aggregate))
            return self._completed(job, registered.call(job))
        except Exception as error:
            return self._raised(job, error)
        except BaseException as error:
            if self.concurrency == 1 or self._single:
                raise  # the whole worker is meant: SystemExit, Ctrl-C, the end of patience
            return self._raised(job, error)

    def _mapped(self, job: Job, call: Callable[[Job], Any], aggregate: Aggregate) -> Any:
        with Client(self.pool.servers, connect_timeout=self.connect_timeout, ssl=self._tls or False) as client:
            mapping = Mapping(client, self.namespace + job.reducer)
            job.pieces = mapping.add
            call(job)
            return aggregate(mapping.results())

    def _send(self, job: Job, packet: bytes) -> None:
        link = self._links.link_of(job)
        if link is None:
            return
        with self._links.lock:
            link.session.say(packet)
        self._links.write(link)

    def work_once(self, timeout: float | None = None) -> bool:
        """Runs at most one job, in this thread.

        Args:
            timeout: seconds to wait for one; None waits for ever, 0 takes what is there.

        Returns:
            whether a job was run.
        """
        if not self.wait(timeout):
            return False
        job = self._ready.popleft()
        self._run(job)
        link = self._links.link_of(job)
        if link is not None:
            self._links.write(link)  # without asking for another: nobody knows when the next call comes
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until there is a job for `work_once`, at most so many seconds. Returns whether there is."""
        self._begin(single=True)
        deadline = None if timeout is None else monotonic() + timeout
        while not self._ready:
            if self._stopping.asked:
                return False
            remaining = None if deadline is None else max(0.0, deadline - monotonic())
            self._pump()
            self._links.turn(remaining)
            self._collect()
            if remaining == 0.0:
                break
        return bool(self._ready)

    # Leaving.

    def stop(self) -> None:
        """Asks `work` to take no more jobs and to return when those that run have ended. From any thread."""
        self._stopping.ask()
        self._links.wake()

    def close(self) -> None:
        """Ends the connections. The worker connects again when it is used again."""
        self._links.close()
        self._fresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
