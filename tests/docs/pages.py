"""The project's pages, and the code blocks in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final, NamedTuple

from markdown_it import MarkdownIt

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README: Final = ROOT / "README.md"
INDEX: Final = ROOT / "docs" / "index.md"
PAGES: Final = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))

_FILE: Final = re.compile(r"# ([\w-]+\.\w+)\n")
_HEADING: Final = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


class Block(NamedTuple):
    """A block of code; `language` is empty for one that names none, or is merely indented."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file name in the comment that is its first line, if there is one."""
        found = _FILE.match(self.text)
        return found[1] if found else None


def blocks(page: Path, *languages: str) -> list[Block]:
    """The code blocks of a page, in order; of these languages, if any are named."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    found = [
        Block(page, token.map[0] + 2, token.info.strip(), token.content)
        for token in tokens
        if token.type in {"fence", "code_block"} and token.map is not None
    ]
    return [block for block in found if not languages or block.language in languages]


def prose(page: Path) -> str:
    """The page without its code blocks; the lines stay where they are."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page):
        for number in range(block.line - 1, block.line - 1 + block.text.count("\n")):
            lines[number] = ""
    return "\n".join(lines)


def links(page: Path) -> list[str]:
    """The targets of all links."""
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    parts = [part for token in tokens for part in token.children or []]
    return [str(part.attrs["href"]) for part in parts if part.type == "link_open"]


def anchors(page: Path) -> set[str]:
    """What can stand behind '#' in a link to this page: its headings, as GitHub makes them."""
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def name(page: Path) -> str:
    """How a page is called in a test's id."""
    return str(page.relative_to(ROOT))
