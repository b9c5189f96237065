"""`python -m twitchvault.cli.demo`."""

from __future__ import annotations

import argparse
import sys

from twitchvault.cli.demo.place import KINDS
from twitchvault.cli.demo.play import SECONDS, play


def main() -> int:
    """Parse the arguments and play; the exit code is 0 if everything was as promised."""
    parser = argparse.ArgumentParser(
        prog="python -m twitchvault.cli.demo",
        description="Four processes share one token store while tokens expire.",
    )
    parser.add_argument("--store", default="sqlite", help=f"{' or '.join(KINDS)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the processes run")
    arguments = parser.parse_args()
    return play(arguments.store, arguments.seconds)


if __name__ == "__main__":
    sys.exit(main())
