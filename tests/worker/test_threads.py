"""Threads for tasks."""

import threading

from geartrain.worker.threads import Threads

from ..services import wait_until


def test_calls_that_come_together_do_not_wait_for_one_idle_thread() -> None:
    threads = Threads(2)
    first = threading.Event()
    threads.run(first.set)
    assert first.wait(20)
    wait_until(lambda: not threads._queue.qsize(), "an idle thread")
    both = threading.Barrier(3)
    threads.run(both.wait)
    threads.run(both.wait)
    both.wait(20)  # breaks where one waits for the other's thread
    threads.close()


def test_no_more_threads_than_were_allowed() -> None:
    threads = Threads(2)
    release, done = threading.Event(), threading.Semaphore(0)
    names: set[str] = set()

    def call() -> None:
        names.add(threading.current_thread().name)
        release.wait(20)
        done.release()

    for _ in range(6):
        threads.run(call)
    wait_until(lambda: len(names) == 2, "two threads")
    release.set()
    assert all(done.acquire(timeout=20) for _ in range(6))
    assert len(names) == 2
    threads.close()
