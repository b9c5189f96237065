"""Writes what the code dictates, tables of these pages and tests/floors.txt: `make docs`.

A comment above such a table names its kind and its subject, `<!-- members: twitchvault.App -->`.
The texts are the docstrings: whole ones of members and models, else their first paragraph.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import pkgutil
import re
import sys
import textwrap
import tomllib
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from pydantic import BaseModel

from twitchvault import App, errors
from twitchvault.cli.commands import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

DOCS: Final = Path(__file__).parent
PAGES: Final = sorted(DOCS.rglob("*.md"))
FLOORS: Final = DOCS.parent / "tests" / "floors.txt"
FLOOR: Final = re.compile(r"(?:\[\w+\])?>=([\w.]+)[^;]*?(?=;|$)")
FIRST_TABLE: Final = re.compile(r"^(\|.*)\n(\|.*)\n(\|.*)$", re.MULTILINE)
TABLE: Final = re.compile(r"(<!-- (\w+): ([\w. ]+) -->\n)(?:[|`].*\n)*")
OPTION: Final = re.compile(r"^([a-z_]+(?:, [a-z_]+)*): (.*(?:\n +.*)*)", re.MULTILINE)
KINDS: Final[tuple[tuple[type, str], ...]] = (
    (Enum, "enum"),
    (BaseModel, "model"),
    (BaseException, "error"),
    (tuple, "tuple"),
    (object, "class"),
)


def generated(page: str) -> str:
    """The text of a page with its tables written anew."""
    return TABLE.sub(lambda found: found[1] + _lines(found[2], found[3].split()), page)


def _lines(kind: str, subjects: list[str]) -> str:
    write: Callable[..., Iterable[str]] = WRITERS[kind]
    return "".join(f"{line}\n" for line in write(*map(pkgutil.resolve_name, subjects)))


def _table(*rows: tuple[str, ...]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"| {' | '.join(map(_cell, row))} |"
        if number == 0:
            yield f"|{' --- |' * len(row)}"


def _cell(text: str) -> str:
    """A "<" outside of code would begin a tag."""
    parts = text.replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _names(module: Any) -> Iterable[str]:  # noqa: ANN401
    """The public names of a module; the errors have a page of their own."""
    names = [name for name in module.__all__ if name not in errors.__all__]
    rows = [(f"`{name}`", *_kind_and_text(getattr(module, name))) for name in sorted(names)]
    return _table(("name", "kind", "what it is"), *rows)


def _kind_and_text(value: object) -> tuple[str, str]:
    if inspect.isclass(value):
        if getattr(value, "_is_protocol", False):
            return "protocol", _first_paragraph(value)
        return next(word for kind, word in KINDS if issubclass(value, kind)), _first_paragraph(
            value
        )
    if callable(value):
        kind = "coroutine function" if inspect.iscoroutinefunction(value) else "function"
        return kind, _first_paragraph(value)
    return "constant", f"`{value!r}`"


def _signature(owner: type) -> Iterable[str]:
    """A constructor, with its arguments."""
    return [f"`{owner.__name__}{_arguments(owner)}`".replace("'", '"')]


def _members(owner: type, base: type = object) -> Iterable[str]:
    """The public members of a class that are not the same in `base`."""
    return _table(("member", "kind", "what it does"), *_rows(owner, base))


def _flows(package: Any) -> Iterable[str]:  # noqa: ANN401
    """What each flow of a package has beyond `App`."""
    flows = {name: getattr(package, name) for name in package.__all__ if name.endswith("Flow")}
    rows = [(f"`{name}`", *row) for name, flow in flows.items() for row in _rows(flow, App)]
    return _table(("flow", "member", "kind", "what it does"), *rows)


def _rows(owner: type, base: type) -> list[tuple[str, str, str]]:
    names = dict.fromkeys(name for kind in reversed(owner.__mro__) for name in vars(kind))
    return [
        _member(owner, name)
        for name in names
        if not name.startswith("_")
        and _is_member(inspect.getattr_static(owner, name))
        and inspect.getattr_static(owner, name) is not inspect.getattr_static(base, name, None)
    ]


def _is_member(value: object) -> bool:
    return inspect.isroutine(value) or inspect.isdatadescriptor(value)


def _member(owner: type, name: str) -> tuple[str, str, str]:
    member = inspect.getattr_static(owner, name)
    if isinstance(member, classmethod):
        kind, member = "class method", getattr(owner, name)
    elif inspect.isdatadescriptor(member):
        return f"`{name}`", "attribute", _text(member) or _field_text(owner, name)
    else:
        kind = _method_kind(member)
    return f"`{name}{_arguments(member)}`", kind, _text(member)


def _field_text(owner: type, name: str) -> str:
    """The string below the field's annotation."""
    for kind in owner.__mro__[:-1]:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for node, text in itertools.pairwise(tree.body):
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
                return str(ast.literal_eval(ast.unparse(text)))
    return ""


def _method_kind(method: Callable[..., object]) -> str:
    if inspect.iscoroutinefunction(method):
        return "async"
    returned = str(inspect.signature(method).return_annotation)
    if returned.startswith("AsyncIterator"):
        return "async for"
    return "async with" if returned.startswith("AbstractAsyncContextManager") else "method"


def _models(*models: type) -> Iterable[str]:
    """Models and named tuples, with their fields."""
    rows = [(f"`{m.__name__}({', '.join(_fields(m))})`", _text(m)) for m in models]
    return _table(("model", "what it is"), *rows)


def _fields(model: Any) -> list[str]:  # noqa: ANN401
    if not issubclass(model, BaseModel):
        return (
            [field.name for field in fields(model)] if is_dataclass(model) else list(model._fields)
        )
    names = list(model.model_fields)
    return [name for name in names if name != "raw"] + ["raw"] * ("raw" in names)


def _options(options: Any) -> Iterable[str]:  # noqa: ANN401
    """The fields of a dataclass; its docstring explains them as `name, name: text`."""
    defaults = {field.name: repr(field.default) for field in fields(options)}
    rows = []
    for found, text in OPTION.findall(inspect.getdoc(options) or ""):
        names = found.split(", ")
        values = (defaults[name] for name in names)
        rows.append((_codes(names), _codes(values), " ".join(text.split()).removesuffix(".")))
    return _table(("name", "default", "meaning"), *rows)


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _commands(_: object) -> Iterable[str]:
    """The commands of the command line."""
    rows = [
        (f"`{name}`", " ".join(str(command.help).split())) for name, command in _every_command()
    ]
    return _table(("command", "what it does"), *rows)


def _command_options(_: object) -> Iterable[str]:
    """The arguments and options of all commands, each with the commands that take it."""
    every = [name for name, _ in _every_command()]
    takers: dict[tuple[str, str], list[str]] = {}
    for name, command in _every_command():
        for param in command.params:
            option = param.opts[0] if param.opts[0].startswith("-") else param.metavar
            if option != "--help":
                takers.setdefault((option, param.help or ""), []).append(name)
    rows = [
        (f"`{option}`", text, _shortest(names, every))
        for (option, text), names in sorted(takers.items())
    ]
    return _table(("argument, option", "meaning", "of"), *rows)


def _shortest(names: list[str], every: list[str]) -> str:
    others = [name for name in every if name not in names]
    if len(names) <= len(others):
        return _codes(names)
    return f"all but {_codes(others)}" if others else "all"


def _every_command() -> Iterator[tuple[str, Any]]:
    """The commands by name, also those of a group."""
    for name, command in sorted(typer.main.get_group(commands).commands.items()):
        members = getattr(command, "commands", None)
        if members is None:
            yield name, command
        else:
            yield from ((f"{name} {member}", members[member]) for member in sorted(members))


def _variables(variables: Mapping[str, str]) -> Iterable[str]:
    """The variables of the environment."""
    rows = [(f"`TWITCHVAULT_{name}`", text) for name, text in variables.items()]
    return _table(("variable", "meaning"), *rows)


def _stores(_: object) -> Iterable[str]:
    """The first table of each store's page, as one; the store's name leads to the page."""
    lines: list[str] = []
    for page in sorted((DOCS / "stores").glob("*.md"), key=lambda page: (page.stem == "own", page)):
        tables = FIRST_TABLE.findall(page.read_text(encoding="utf-8"))
        if not tables:
            continue  # an example, not a store of the library
        header, ruler, row = tables[0]
        lines = lines or [header, ruler]
        name, rest = row.removeprefix("| ").split(" | ", 1)
        link = f"stores/{page.name}"
        lines.append(f"| [{name}]({link}) | {rest.replace('](#', f']({link}#')}")
    return lines


WRITERS: Final[dict[str, Callable[..., Iterable[str]]]] = {
    "names": _names,
    "signature": _signature,
    "members": _members,
    "flows": _flows,
    "models": _models,
    "options": _options,
    "commands": _commands,
    "command_options": _command_options,
    "variables": _variables,
    "stores": _stores,
}


def _arguments(function: Callable[..., object]) -> str:
    """The arguments without annotations and `self`."""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    ]
    return str(inspect.Signature(parameters))


def _text(value: object) -> str:
    return " ".join((inspect.getdoc(value) or "").split())


def _first_paragraph(value: object) -> str:
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def floors() -> str:
    """The lowest version of each dependency, as constraints for pip."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *itertools.chain(*extras.values())]
    pins = {FLOOR.sub(r"==\1", line) for line in lines if line not in extras["all"]}
    title = "# The oldest versions that pyproject.toml admits: `make test-floors` installs these.\n"
    return title + "".join(f"{pin}\n" for pin in sorted(pins, key=str.lower))


def main() -> None:
    """Write all pages anew, and tests/floors.txt."""
    written = {page: generated(page.read_text(encoding="utf-8")) for page in PAGES}
    for page, new in (written | {FLOORS: floors()}).items():
        if page.read_text(encoding="utf-8") != new:
            page.write_text(new, encoding="utf-8")
            sys.stdout.write(f"wrote {page.relative_to(Path.cwd())}\n")


if __name__ == "__main__":
    main()
