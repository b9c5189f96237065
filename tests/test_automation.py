"""What runs without a person: workflows, hooks, and the example of a container."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.docs.pages import PROJECT, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GITHUB: Final = ROOT / ".github"
DOCKER: Final = ROOT / "docs" / "examples" / "docker"
WORKFLOWS: Final = sorted(GITHUB.glob("workflows/*.yml"))
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS: Final = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
SETTINGS: Final = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
EXPRESSION: Final = re.compile(r"\$\{\{ *([\w.]+) *\}\}")


def read(path: Path) -> dict[str, Any]:
    """A YAML file; the key `on` is not the truth value that YAML 1.1 makes of it."""
    content: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def combinations(job: dict[str, Any]) -> list[dict[str, str]]:
    """The values of a job's matrix, a dictionary for each run of the job."""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    included: list[dict[str, str]] = matrix.pop("include", [])
    if not matrix:
        return included or [{}]
    product = itertools.product(*matrix.values())
    return [dict(zip(matrix, values, strict=True)) for values in product] + included


def steps() -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
    """Every step of every workflow, with the values of the matrix."""
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            for values in combinations(job):
                for step in job["steps"]:
                    yield f"{path.name}: {name}", values, step


def expanded(text: str, values: dict[str, str]) -> str:
    """A text of a workflow, with a matrix's values in it; others become a 1."""
    return EXPRESSION.sub(lambda found: values.get(found[1].removeprefix("matrix."), "1"), text)


def check_make(command: str) -> None:
    """Fail unless it calls targets of the Makefile, with settings that it knows."""
    words = shlex.split(command)
    assert words[0] == "make", command
    for word in words[1:]:
        name, is_setting, _ = word.partition("=")
        assert name in (SETTINGS if is_setting else TARGETS), command


def test_workflows_and_hooks_call_make() -> None:
    """Whatever they run, anybody can run; all else is a published action with a version."""
    for repo in read(ROOT / ".pre-commit-config.yaml")["repos"]:
        for hook in repo["hooks"]:
            check_make(hook["entry"])
    for where, values, step in steps():
        if "run" in step:
            check_make(expanded(step["run"], values))
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"]), where
        assert step.keys() <= {"run", "uses", "with", "name"}, where


def test_every_supported_python_is_tested() -> None:
    """On Linux; and one on macOS and on Windows."""
    runs = combinations(read(GITHUB / "workflows" / "ci.yml")["jobs"]["tests"])
    linux = [run["python"] for run in runs if run["os"] == "ubuntu-latest"]
    supported = [
        found[1]
        for line in PROJECT["classifiers"]
        if (found := re.search(r"Python :: (3\.\d+)", line))
    ]
    assert linux == supported
    assert {run["os"] for run in runs} == {"ubuntu-latest", "macos-latest", "windows-latest"}


def test_a_release_needs_no_secret() -> None:
    """The distributions are tested, built and published by the identity of the workflow."""
    text = (GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8")
    publish = yaml.safe_load(text)["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["needs"] == "build"
    assert "secrets." not in text
    assert "password" not in text


def test_the_image_runs_python_first() -> None:
    """No shell that keeps SIGTERM, no root; what it copies and installs is there."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    known = dict(line.split(maxsplit=1) for line in text.splitlines() if line)
    assert ast.literal_eval(known["CMD"]) == ["python", "-u", "bot.py"]
    assert known["USER"] == "bot"
    assert known["FROM"].startswith("python:3.13")
    for copied in known["COPY"].split()[:-1]:
        assert (DOCKER / copied).is_file()
    extras = re.search(r"twitchvault\[([a-z,]+)\]", known["RUN"])
    assert extras is not None
    assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
    assert ast.literal_eval(known["HEALTHCHECK"].partition("CMD ")[2])[0] == "twitchvault"


def test_compose_gives_a_refresh_its_time() -> None:
    """The grace period is longer than `lease_ttl` and `close()`; volumes are folders that exist."""
    compose = read(DOCKER / "compose.yaml")
    bot, valkey = compose["services"]["bot"], compose["services"]["valkey"]
    assert int(bot["stop_grace_period"].removesuffix("s")) > 60 + 5
    assert bot["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    assert "healthcheck" in valkey
    for volume in valkey["volumes"]:
        name, _, folder = volume.partition(":")
        assert name in compose["volumes"]
        assert folder == "/data"
    assert set(bot["environment"]) == {"TWITCHVAULT_CLIENT_ID", "TWITCHVAULT_STORE"}
    for setting in ("--appendonly yes", "--appendfsync always", "noeviction"):
        assert setting in " ".join(valkey["command"]), "see docs/stores/redis.md"
