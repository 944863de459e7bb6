"""The chart for the README: CPU per job of ours beside gearmand's, as an SVG that follows light and dark.

Owns the drawing. Bars are relative to gearmand as shipped, so that rows of 0.3 and of 1,000 µs share one axis.
"""

from collections.abc import Mapping
from statistics import median
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.results import Result
from benchmarks.rows import ROWS
from benchmarks.samples import SHIPPED, Sample

__all__ = ["draw"]

_BARS: Final = (
    (SHIPPED, "gearmand as shipped", "g"),
    ("best", "gearmand at its best", "b"),
    ("pure", "geartrain", "p"),
    ("compiled", "geartrain, compiled", "c"),
)
_SHOWN: Final = ("one", "all-yours", "window", "ten", "fifty", "16k", "1m", "echo", "submit", "submit-fifty", "drain")
_SHOWN_TOO: Final = ("functions", "idle", "tls", "durable", "durable-one", "durable-round")
_LEFT: Final = 330
_WIDTH: Final = 330
_BAR: Final = 9
_GAP: Final = 14
_TOP: Final = 64
_LIMIT: Final = 1.5
"""Bars end here; the figure beside them tells the rest."""

_STYLE: Final = """
text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; } .note { fill: #59636e; } .axis { stroke: #d1d9e0; }
.g { fill: #9aa4af; } .b { fill: #c9ced4; } .p { fill: #1f7a5c; } .c { fill: #46b58c; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .note { fill: #9198a1; } .axis { stroke: #3d444d; }
  .g { fill: #7d8590; } .b { fill: #4a525b; } .p { fill: #3fb68b; } .c { fill: #8fe0c0; }
}
"""


def _cpu(result: Result, name: str) -> list[float]:
    samples: list[Sample] = result.rounds.get(name, [])
    return [sample["cpu_us"] for sample in samples if "cpu_us" in sample]


def _best(result: Result) -> list[float]:
    known = [values for name in result.rounds if name.startswith("gearmand") and (values := _cpu(result, name))]
    return min(known, key=median) if known else []


def _shares(result: Result) -> dict[str, float]:
    """Each bar as a share of gearmand as shipped: the median of the ratios of the rounds."""
    base = _cpu(result, SHIPPED)
    found = {}
    for name, _, _ in _BARS:
        values = _best(result) if name == "best" else _cpu(result, name)
        ratios = [mine / his for mine, his in zip(values, base, strict=False) if his]
        if ratios:
            found[name] = median(ratios)
    return found


def _row(title: str, micros: float, shares: Mapping[str, float], y: int) -> list[str]:
    middle = y + _BAR * len(_BARS) / 2 + 4
    parts = [f'<text x="{_LEFT - 12}" y="{middle - 6:.0f}" text-anchor="end">{escape(title)}</text>']
    parts.append(
        f'<text class="note" x="{_LEFT - 12}" y="{middle + 9:.0f}" text-anchor="end">gearmand: {micros:,.4g} µs</text>'
    )
    for place, (name, _, style) in enumerate(_BARS):
        if name not in shares:
            continue
        width = max(min(shares[name], _LIMIT) * _WIDTH, 1)
        at = y + place * _BAR
        parts.append(f'<rect class="{style}" x="{_LEFT}" y="{at}" width="{width:.1f}" height="{_BAR - 1}" rx="1"/>')
        if name in ("pure", "compiled"):
            parts.append(
                f'<text class="note" style="font-size:9px" x="{_LEFT + width + 4:.1f}" y="{at + 8}">'
                f"{shares[name]:.2g}</text>"
            )
    return parts


def draw(results: Mapping[str, Result]) -> str:
    """The SVG's text."""
    names = [name for name in (*_SHOWN, *_SHOWN_TOO) if name in results and _cpu(results[name], SHIPPED)]
    step = _BAR * len(_BARS) + _GAP
    height, width = _TOP + step * len(names) + 20, _LEFT + int(_WIDTH * _LIMIT) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="Server CPU per job, as a share of gearmand as shipped; shorter is better">',
        f"<style>{_STYLE}</style>",
        '<text class="title" x="12" y="22">Server CPU per job, beside gearmand as shipped (shorter is better)</text>',
    ]
    x = 12
    for _, label, style in _BARS:
        parts.append(f'<rect class="{style}" x="{x}" y="36" width="11" height="11" rx="2"/>')
        parts.append(f'<text x="{x + 16}" y="46">{escape(label)}</text>')
        x += 40 + 7 * len(label)
    for share in (0.0, 0.5, 1.0):
        at = _LEFT + share * _WIDTH
        parts.append(f'<line class="axis" x1="{at}" x2="{at}" y1="{_TOP - 6}" y2="{height - 18}"/>')
        parts.append(f'<text class="note" x="{at}" y="{height - 5}" text-anchor="middle">{share:g}</text>')
    for place, name in enumerate(names):
        base = median(_cpu(results[name], SHIPPED))
        parts += _row(ROWS[name].title.split(" (")[0], base, _shares(results[name]), _TOP + place * step)
    return "\n".join([*parts, "</svg>", ""])
