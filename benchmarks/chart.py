"""The chart of the page: opening and reading by number of users, on logarithmic scales."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple
from xml.sax.saxutils import escape

from benchmarks.report import format_figure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.runner import Result

WIDTH: Final = 460
HEIGHT: Final = 320
LEFT, RIGHT, TOP, BOTTOM = 70, 36, 40, 100
COLOURS: Final = ("#6441a5", "#888888", "#c2571a", "#1a7f5a", "#2b6cb0")
FONT: Final = 'font-family="sans-serif" font-size="12"'
PANELS: Final = (
    ("Opening", ("open-sqlite", "open-redis")),
    ("Reading one token", ("read-memory", "read-sqlite")),
)


class Curve(NamedTuple):
    """One contestant's medians by size."""

    who: str
    points: tuple[tuple[float, float], ...]
    dashed: bool


def curves(results: Iterable[Result], cases: tuple[str, ...]) -> list[Curve]:
    """Ours and the limits; peers do not run at every size."""
    found: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for result in results:
        if result.case not in cases or result.size is None:
            continue
        for line in result.lines:
            if line.role != "peer":
                points = found.setdefault((line.who, line.role == "limit"), [])
                points.append((result.size, line.median))
    return [Curve(who, tuple(sorted(points)), dashed) for (who, dashed), points in found.items()]


class Scale:
    """Maps values to pixels, logarithmically, from a power of ten to another."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        """The pixel."""
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self._start + part * (self._end - self._start), 1)

    @property
    def ticks(self) -> list[float]:
        """Powers of ten."""
        return [10.0**power for power in range(self.low, self.high + 1)]


def text(x: float, y: float, content: str, anchor: str = "middle", extra: str = "") -> str:
    """A word or two."""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{extra}>{escape(content)}</text>'


def panel(title: str, found: list[Curve]) -> list[str]:
    """One diagram, its upper left corner at 0, 0."""
    bottom = HEIGHT - BOTTOM
    across = Scale([x for one in found for x, _ in one.points], LEFT, WIDTH - RIGHT)
    upwards = Scale([y for one in found for _, y in one.points], bottom, TOP)
    parts = [text(WIDTH / 2, 20, title, extra=' font-weight="bold"')]
    for tick in upwards.ticks:
        y = upwards(tick)
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(text(LEFT - 6, y + 4, format_figure(tick, "s"), "end"))
    parts += [text(across(tick), bottom + 16, f"{tick:,.0f}") for tick in across.ticks]
    parts.append(text(WIDTH / 2, bottom + 32, "users"))
    for number, one in enumerate(found):
        colour = COLOURS[number % len(COLOURS)]
        style = f'stroke="{colour}"' + (' stroke-dasharray="5 4"' if one.dashed else "")
        path = "L".join(f"{across(x)} {upwards(y)}" for x, y in one.points)
        parts.append(f'<path d="M{path}" fill="none" stroke-width="2" {style}/>')
        x, y = LEFT + (number % 2) * 200 - 50, bottom + 52 + (number // 2) * 18
        parts.append(f'<path d="M{x} {y}h24" stroke-width="2" {style}/>')
        parts.append(text(x + 30, y + 4, one.who, "start"))
    return parts


def draw(results: list[Result]) -> str:
    """The picture; dashed lines are the limits."""
    found = [(title, curves(results, cases)) for title, cases in PANELS]
    panels = [(title, curves) for title, curves in found if curves]
    width = max(1, len(panels)) * WIDTH
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" {FONT}>',
        f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for number, (title, lines) in enumerate(panels):
        parts += [f'<g transform="translate({number * WIDTH} 0)">', *panel(title, lines), "</g>"]
    return "\n".join([*parts, "</svg>", ""])
