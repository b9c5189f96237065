"""What the user sees: tables, the difference to a baseline, and the tables of the page."""

from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape
from rich.table import Table

from benchmarks import peers
from benchmarks.runner import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from benchmarks.runner import Line, Mark

HEADINGS: Final = ("", "median", "spread", "× limit", "what came of it")  # noqa: RUF001
STYLES: Final = {"ours": "bold", "limit": "cyan", "peer": ""}
STEPS: Final = ((1e-6, 1e9, "ns"), (1e-3, 1e6, "µs"), (1.0, 1e3, "ms"))
CHANGED: Final = 0.1
"""Smaller differences to the baseline are noise."""
START: Final = "<!-- results: written by `python -m benchmarks --page` -->"
END: Final = "<!-- end of results -->"


def format_figure(figure: float, unit: str) -> str:
    """A figure with three digits and a fitting unit."""
    if unit == "B":
        return f"{figure:,.0f} B"
    for below, factor, name in STEPS:
        if figure < below:
            value = figure * factor
            return f"{value:.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
    return f"{figure:.2f} s"


def spread(line: Line) -> str:
    """The middle half of the figures; both ends, if there are few."""
    if len(line.samples) < 2:
        return ""
    low, high = min(line.samples), max(line.samples)
    if len(line.samples) >= 4:
        low, _, high = quantiles(line.samples, n=4)
    return f"{format_figure(low, line.unit)} … {format_figure(high, line.unit)}"


def machine() -> dict[str, Any]:
    """Where this was measured."""
    return {
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "versions": peers.versions(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _verdict(mark: Mark) -> str:
    return f"{'met' if mark.passed else 'MISSED'}: {mark.expected}; found {mark.found}"


def show(result: Result, console: Console) -> None:
    """Print one case."""
    table = Table(title=result.title, title_justify="left", title_style="bold")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in {"median", "× limit"} else "left")  # noqa: RUF001
    for line in result.lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        figures = (format_figure(line.median, line.unit), spread(line), ratio, line.note)
        table.add_row(escape(line.who), *figures, style=STYLES[line.role])
    console.print(table)
    for mark in result.marks:
        console.print(_verdict(mark), style="green" if mark.passed else "bold red", highlight=False)
    for text in result.skipped:
        console.print(f"left out: {text}", style="yellow", highlight=False, markup=False)
    console.print()


def compare(old: list[Result], new: list[Result], console: Console) -> None:
    """Print by how much ours has changed since the baseline, in time and against the limit."""
    before = {(one.title, line.who): line for one in old for line in one.lines}
    table = Table(title="Ours against the baseline", title_justify="left")
    for heading in ("case", "", "baseline", "now", "change", "× limit then", "now"):  # noqa: RUF001
        table.add_column(heading)
    for result in new:
        for line in result.lines:
            past = before.get((result.title, line.who))
            if past is None or line.role != "ours":
                continue
            change = line.median / past.median - 1
            style = "" if abs(change) < CHANGED else "red" if change > 0 else "green"
            figures = (format_figure(past.median, line.unit), format_figure(line.median, line.unit))
            ratios = (_ratio(past), _ratio(line))
            row = (result.title, line.who, *figures, f"{change:+.0%}", *ratios)
            table.add_row(*row, style=style)
    console.print(table)


def _ratio(line: Line) -> str:
    return "" if line.ratio is None else f"{line.ratio:.2f}"


def read(content: dict[str, Any]) -> list[Result]:
    """The outcomes in a file of results."""
    return [Result.of_json(one) for one in content["results"]]


def page(content: dict[str, Any]) -> str:
    """All of it as the page shows it."""
    machine = content["machine"]
    installed = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    servers, load = f"SQLite {machine['sqlite']}", machine["load"][0]
    where = machine["processor"], f"{machine['cores']} cores", machine["system"], machine["python"]
    parts = [
        f"Measured on {content['date']}: {', '.join(where)}, {servers}, load {load} at the start.",
        f"Versions: {installed}.",
        "",
        *_summary(read(content)),
    ]
    for result in read(content):
        parts += ["", f"### {result.title[:1].upper()}{result.title[1:]}", "", *_table(result)]
        parts += ["", *(f"- {_verdict(mark)}." for mark in result.marks)]
        parts += [f"- Left out: {text}." for text in result.skipped]
    return "\n".join(parts)


def _summary(results: Iterable[Result]) -> list[str]:
    marks = [(result, mark) for result in results for mark in result.marks]
    missed = [(result, mark) for result, mark in marks if not mark.passed]
    lines = [f"{len(marks) - len(missed)} of {len(marks)} marks are met."]
    if missed:
        lines += ["Missed:", ""]
    return lines + [f"- {o.title}: {m.expected}; found {m.found}." for o, m in missed]


def _table(result: Result) -> list[str]:
    rows = [f"| {' | '.join(('who', *HEADINGS[1:]))} |", f"|{' --- |' * len(HEADINGS)}"]
    for line in result.lines:
        name = f"**{line.who}**" if line.role == "ours" else line.who
        cells = (name, format_figure(line.median, line.unit), spread(line), _ratio(line), line.note)
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def replace_results(path: Path, text: str) -> None:
    """Replace what stands between the two comments of the page."""
    content = path.read_text(encoding="utf-8")
    head, _, rest = content.partition(START)
    _, _, tail = rest.partition(END)
    path.write_text(f"{head}{START}\n\n{text}\n\n{END}{tail}", encoding="utf-8")
