"""Which server next, and when."""

import pytest

from geartrain.client.address import Server
from geartrain.client.pool import FIRST_DELAY, MAX_DELAY, Pool

A, B, C = Server("a"), Server("b"), Server("c")


def test_healthy_servers_come_in_their_order() -> None:
    assert Pool([A, B, C]).candidates(100.0) == [A, B, C]


def test_failed_servers_come_last_and_the_longest_waiting_first() -> None:
    pool = Pool([A, B, C], dice=lambda: 1.0)
    pool.failed(A, 100.0)
    assert pool.candidates(100.0) == [B, C, A]
    pool.failed(B, 100.05)
    assert pool.candidates(100.06) == [C, A, B]
    assert pool.candidates(101.0) == [A, B, C]


def test_waits_double_up_to_a_bound_and_start_anew_after_a_success() -> None:
    pool = Pool([A], dice=lambda: 1.0)
    waits = [pool.failed(A, 0.0) for _ in range(20)]
    assert waits[:4] == [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4, FIRST_DELAY * 8]
    assert waits[-1] == MAX_DELAY
    pool.succeeded(A)
    assert pool.retry_at(A) == 0.0
    assert pool.failed(A, 0.0) == FIRST_DELAY


def test_waits_are_spread() -> None:
    rolls = iter([0.0, 0.5, 1.0])
    pool = Pool([A, B, C], dice=lambda: next(rolls))
    assert [pool.failed(s, 0.0) for s in (A, B, C)] == [FIRST_DELAY / 2, pytest.approx(FIRST_DELAY * 0.75), FIRST_DELAY]
