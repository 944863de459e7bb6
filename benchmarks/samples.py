"""Samples: what one run of one row on one server gave, and what is expected of many of them.

Owns medians, ratios and verdicts. Knows neither servers nor how a row is run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeAlias

__all__ = ["BEST", "FLOOR", "GEARMANDS", "ITSELF", "SHIPPED", "Rounds", "Sample", "Target", "Verdict", "judge"]

Sample: TypeAlias = dict[str, float]
"""Figures by name. cpu_us, user_us and system_us are per job; rss_kib and peak_kib of the server."""
Rounds: TypeAlias = Mapping[str, Sequence[Sample]]
"""The samples of one row by variant, one for each round."""

SHIPPED: Final = "gearmand-t4"
"""D: gearmand as Debian ships it."""
GEARMANDS: Final = (SHIPPED, "gearmand-t0", "gearmand-t1")
BEST: Final = "B"
"""The best of the three in that row and figure."""
FLOOR: Final = "floor"
"""L: the least a C server can cost."""
ITSELF: Final = ""
"""No comparison: the figure itself is bounded."""
_SHORT: Final = {SHIPPED: "D", BEST: "B", FLOOR: "L"}


@dataclass(frozen=True)
class Target:
    """What a row must reach.

    Attributes:
        variant: which of ours.
        figure: a name in the samples.
        against: a variant, `BEST`, or `ITSELF`.
        bound: of the ratio (of the figure itself for `ITSELF`).
        at_least: a lower bound; otherwise an upper one.
    """

    variant: str
    figure: str
    against: str
    bound: float
    at_least: bool = False

    def __str__(self) -> str:
        of = f" of {_SHORT.get(self.against, self.against)}'s" if self.against else ""
        return f"{self.variant}: {'>=' if self.at_least else '<='} {self.bound:g}{of} {self.figure}"


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured; `value` is None where a side of the comparison was not run."""

    target: Target
    value: float | None

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.target.bound if self.target.at_least else self.value <= self.target.bound

    def __str__(self) -> str:
        word = {True: "reached", False: "NOT REACHED", None: "not measured"}[self.reached]
        return f"{word}: {'-' if self.value is None else f'{self.value:.3g}'} ({self.target})"


def typical(samples: Sequence[Sample], figure: str) -> float | None:
    """The median of one figure over the rounds."""
    values = [sample[figure] for sample in samples if figure in sample]
    return median(values) if values else None


def reference(rounds: Rounds, target: Target) -> str | None:
    """The variant that a target is compared with: for B the best by its median in this figure."""
    if target.against != BEST:
        return target.against if rounds.get(target.against) else None
    found = {name: typical(rounds[name], target.figure) for name in GEARMANDS if rounds.get(name)}
    known = {name: value for name, value in found.items() if value is not None}
    if not known:
        return None
    choose = max if target.at_least else min
    return choose(known, key=lambda name: known[name])


def judge(rounds: Rounds, target: Target) -> Verdict:
    """The median of the ratios of each round: neighbours in time share the machine's mood."""
    ours = [sample[target.figure] for sample in rounds.get(target.variant, ()) if target.figure in sample]
    if target.against == ITSELF:
        return Verdict(target, median(ours) if ours else None)
    other = reference(rounds, target)
    if not ours or other is None:
        return Verdict(target, None)
    theirs = [sample[target.figure] for sample in rounds[other] if target.figure in sample]
    ratios = [mine / his for mine, his in zip(ours, theirs, strict=False) if his]
    return Verdict(target, median(ratios) if ratios else None)
