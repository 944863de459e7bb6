"""`gearmand` of this project as a process of its own, for tests that measure it, kill it or take things from it."""

import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.services import Service, free_port
from tests.transcripts.servers import listens

__all__ = ["daemon", "enough_descriptors", "memory"]


@contextmanager
def daemon(*options: str, prefix: Sequence[str] = ()) -> Iterator[Service]:
    """Starts it; on leaving it is killed.

    Args:
        options: of the command line, besides the port.
        prefix: a program that starts it with some limit, as ``prlimit``.
    """
    with tempfile.TemporaryDirectory(prefix="geartrain-test-") as folder:
        port = free_port()
        argv = [*prefix, sys.executable, "-m", "geartrain.cli.gearmand", "-p", str(port), "-L", "127.0.0.1"]
        service = Service([*argv, "-l", "stderr", *options], port, Path(folder))
        service.ready = lambda: listens(port)
        try:
            service.start()
            yield service
        finally:
            if service.running:
                service.thaw()
            service.kill()


def memory(service: Service) -> int:
    """What the server has in memory, in bytes."""
    pages = int(Path(f"/proc/{service.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def enough_descriptors(count: int) -> bool:
    """Whether this process may open so many files; raises its own limit where that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        return False
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return True
