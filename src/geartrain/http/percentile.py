"""Percentiles of the durations that a histogram counted."""

from bisect import bisect_left
from itertools import accumulate
from math import inf

from geartrain.engine.stats import BOUNDS, Histogram

__all__ = ["percentile", "percentiles"]


def percentile(histogram: Histogram | None, share: float) -> float | None:
    """A percentile in seconds, as fine as the buckets are: None before the first duration.

    Within a bucket the durations are taken to lie evenly; the highest one reaches as far as their sum allows.
    """
    return None if histogram is None else _percentile(histogram, list(accumulate(histogram.counts)), share)


def _percentile(histogram: Histogram, sums: list[int], share: float) -> float | None:
    wanted = sums[-1] * share
    if not wanted:
        return None
    index = min(bisect_left(sums, wanted), len(BOUNDS))
    count = histogram.counts[index]
    low = BOUNDS[index - 1] if index else 0.0
    high = BOUNDS[index] if index < len(BOUNDS) else inf
    if sums[index] == sums[-1]:
        below = sum(number * bound for number, bound in zip(histogram.counts[1:index], BOUNDS, strict=False))
        mean = (histogram.sum - below) / count
        high = max(min(high, 2 * mean - low), low)
    return low + (high - low) * (wanted - sums[index] + count) / count


def percentiles(histogram: Histogram | None) -> tuple[float | None, float | None]:
    """The median and the 99th percentile in seconds, as `percentile` has them."""
    if histogram is None:
        return None, None
    sums = list(accumulate(histogram.counts))
    return _percentile(histogram, sums, 0.5), _percentile(histogram, sums, 0.99)
