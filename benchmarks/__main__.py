"""Run the benchmarks: `make bench`, `make bench CASE=storm`, `make bench-compare`."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import report
from benchmarks.cases import CASES, chosen
from benchmarks.chart import draw
from benchmarks.runner import SIZES, TINY, Plan, Result

ROOT: Final = Path(__file__).parents[1]
LATEST: Final = ROOT / "benchmarks" / "results" / "latest.json"
BASELINE: Final = ROOT / "benchmarks" / "baseline.json"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
CHART: Final = ROOT / "docs" / "benchmarks.svg"


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("case", nargs="?", default="", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--users", type=int, default=0, help="one more size to open and to read")
    parser.add_argument("--tiny", action="store_true", help="only see that everything works")
    parser.add_argument("--compare", action="store_true", help="the latest run and the baseline")
    parser.add_argument("--save", action="store_true", help="make the latest run the baseline")
    parser.add_argument("--page", action="store_true", help="write the baseline into the docs")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    return parser.parse_args()


def plan_of(options: argparse.Namespace, folder: Path) -> Plan:
    """How much to measure."""
    sizes = TINY if options.tiny else SIZES
    if options.users:
        sizes = tuple(sorted({*sizes, options.users}))
    return Plan(folder, sizes, tiny=options.tiny)


def run_one(name: str, options: argparse.Namespace) -> list[Result]:
    """One case, in this process and in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="twitchvault-bench-") as folder:
        return asyncio.run(CASES[name](plan_of(options, Path(folder))))


def run_apart(name: str, options: argparse.Namespace) -> list[Result]:
    """One case in a fresh process, so that none inherits another one's heap."""
    command = [sys.executable, "-m", "benchmarks", "--only", name]
    command += ["--tiny"] if options.tiny else []
    command += ["--users", str(options.users)]
    # Peers that do not close what they opened say so on stderr: shown only if the case fails.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stderr}\nthe case {name!r} failed")
    return [Result.of_json(one) for one in json.loads(done.stdout.splitlines()[-1])]


def run_all(options: argparse.Namespace, console: Console) -> int:
    """Run what was chosen, show it and keep it; 1 if a mark is missed."""
    names = chosen(options.case)
    if not names:
        console.print(f"no case is called {options.case!r}: there are {', '.join(CASES)}")
        return 2
    content: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": report.machine(),
        "results": [],
    }
    marks = []
    LATEST.parent.mkdir(exist_ok=True)
    for name in names:
        for result in run_apart(name, options):
            report.show(result, console)
            content["results"].append(result.as_json())
            marks += result.marks
        write(LATEST, content)
    missed = sum(not mark.passed for mark in marks)
    console.print(
        f"{len(marks) - missed} marks met, {missed} MISSED; load {content['machine']['load']}"
    )
    return 1 if missed else 0


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a file of results."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def save() -> None:
    """Make the latest run the baseline; cases that it did not have stay as they are."""
    content = load(LATEST)
    if BASELINE.exists():
        cases = {result["case"] for result in content["results"]}
        old = load(BASELINE)["results"]
        content["results"] += [result for result in old if result["case"] not in cases]
        order = list(CASES)
        content["results"].sort(key=lambda result: order.index(result["case"]))
    write(BASELINE, content)


def write_page() -> None:
    """Put the baseline and its chart into the docs."""
    content = load(BASELINE)
    report.replace_results(PAGE, report.page(content))
    CHART.write_text(draw(report.read(content)), encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    """A file of results."""
    if not path.exists():
        raise SystemExit(f"there is no {path.name} yet: run `make bench` first, or with --save")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def main() -> int:
    """0, or 1 if a mark is missed."""
    options = arguments()
    console = Console()
    if options.only:
        found = run_one(options.only, options)
        print(json.dumps([result.as_json() for result in found]))
    elif options.compare:
        report.compare(report.read(load(BASELINE)), report.read(load(LATEST)), console)
    elif options.save or options.page:
        if options.save:
            save()
        if options.page:
            write_page()
    else:
        return run_all(options, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
