"""The table of the four processes, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from twitchvault.cli.demo.crew import BotProcess
    from twitchvault.testing.fake import Counts, User

__all__ = ["Finding", "board", "show_findings"]

_COLOURS: Final = ("cyan", "green", "yellow", "magenta", "bright_blue", "bright_red")


class Finding(NamedTuple):
    """Something that was promised, and whether it was kept."""

    kept: bool
    text: str


def board(bots: Sequence[BotProcess], users: Sequence[User], counts: Counts) -> Table:
    """One row for each process; equal tokens have equal colours."""
    table = Table(
        caption=_caption(counts), caption_justify="left", caption_style="dim", title_justify="left"
    )
    table.add_column("process")
    table.add_column("calls", justify="right", min_width=6)
    table.add_column("failed", justify="right")
    for user in users:
        table.add_column(f"{user.login}'s token", min_width=8)
    table.add_column("refreshes", justify="right")
    for bot in bots:
        table.add_row(*_row(bot, users))
    return table


def _row(bot: BotProcess, users: Sequence[User]) -> list[Text]:
    name = Text.assemble(str(bot.number), (f"  pid {bot.pid}", "dim"))
    report = bot.report
    if report is None:
        return [name]
    failed = Text(str(report.failed), "bold red" if report.failed else "")
    tokens = [_token(report.tokens.get(user.user_id, "")) for user in users]
    return [name, Text(f"{report.calls:,}"), failed, *tokens, Text(str(report.refreshed))]


def _token(mark: str) -> Text:
    return Text(mark, _COLOURS[int(mark, 16) % len(_COLOURS)]) if mark else Text("-")


def _caption(counts: Counts) -> str:
    return (
        f"Twitch's own count: {counts.expiries} expired tokens, {counts.exchanges} exchanges, "
        f"{counts.replays} replays"
    )


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print them, each with a mark."""
    plain = not console.encoding.startswith("utf")
    good, bad = ("ok", "NO") if plain else ("✓", "✗")
    for finding in findings:
        mark = (good, "bold green") if finding.kept else (bad, "bold red")
        console.print(Text.assemble("   ", mark, " ", finding.text), soft_wrap=True)
