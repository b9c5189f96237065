"""`make simulate SEED=123` shows one run, `make simulate SEEDS=100000` counts what many show."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from tests.simulation.batch import prepare, run_all, run_known
from tests.simulation.result import table
from tests.simulation.search import find_planted
from tests.simulation.shrink import shrink
from tests.simulation.world import simulate

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from tests.simulation.batch import Summary
    from tests.simulation.result import Result
    from tests.simulation.search import Finding

SHOWN: Final = 3
"""Failing runs whose history is shown."""
SHORTENING: Final = 20.0
"""Seconds that making one of them shorter may take."""
COUNTED: Final[dict[str, str]] = {
    "avoidable replay": "avoidable replays",
    "lost pair": "lost pairs",
    "wrong needs_login": "wrong needs_login",
    "hung call": "hung calls",
}


def _print_counts(title: str, counts: Counter[str]) -> None:
    print(f"{title}:" if counts else f"{title}: none")
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        print(f"  {count:>9}  {name}")


def report(total: Summary) -> int:
    """Print what many runs have shown; the exit code."""
    print(f"{total.runs} schedules, {total.events / max(1, total.runs):.0f} events each")
    _print_counts("faults and acts", total.faults)
    _print_counts("unavoidable", total.unavoidable)
    for seed in sorted(total.failing)[:SHOWN]:
        show(shrink(simulate(seed), SHORTENING, total.failing[seed]))
    if total.failing:
        print("failing seeds:", *(f"{s} ({k})" for s, k in sorted(total.failing.items())))
    others = sum(count for kind, count in total.broken.items() if kind not in COUNTED)
    if others:
        print(f"{others} other violations")
    numbers = ", ".join(f"{total.broken[kind]} {name}" for kind, name in COUNTED.items())
    print(f"{total.runs} schedules: {numbers}")
    return 1 if total.broken else 0


def show(result: Result) -> None:
    """Print a history, and how to see it again."""
    print(table(result))
    print(f"repeat it: make simulate SEED={result.seed}")


def one(seed: int) -> int:
    """Show one run, shortened if it fails; the exit code."""
    result = simulate(seed)
    if result.violations:
        result = shrink(result, SHORTENING, result.violations[0].kind)
    show(result)
    return 1 if result.violations else 0


def print_findings(findings: Iterable[Finding]) -> int:
    """Print which planted faults were found; the exit code."""
    missed = 0
    for finding in findings:
        missed += not finding.seed
        print(*finding, sep=" | ", flush=True)
    print(f"{missed} planted faults were not found")
    return 1 if missed else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="show one run")
    parser.add_argument("--seeds", type=int, default=10_000, help="run so many")
    parser.add_argument("--start", type=int, default=1, help="the first of them")
    parser.add_argument("--known", action="store_true", help="run the seeds that ever failed")
    parser.add_argument("--plants", action="store_true", help="try the seeds of planted faults")
    parser.add_argument("--search", action="store_true", help="search for seeds of planted faults")
    options = parser.parse_args()
    prepare()
    if options.plants or options.search:
        return print_findings(find_planted(anew=options.search))
    if options.known:
        return report(run_known())
    if options.seed is not None:
        return one(options.seed)
    return report(run_all(options.start, options.seeds))


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is part of a run.
        os.execve(  # noqa: S606
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
