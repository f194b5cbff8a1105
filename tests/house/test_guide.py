"""The operator's guide prints what the commands print, and both languages teach the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.tools import ROOT

GUIDE = ROOT / "docs/guide"
FENCE = re.compile(r"^```(\w+) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COLUMNS = "100"
"""Of the terminal that the guide was written in."""


@dataclass(frozen=True)
class Step:
    """A command and the lines that follow it in the guide. status: None = not run."""

    command: str
    shown: tuple[str, ...]
    status: int | None


@dataclass(frozen=True)
class Came:
    status: int
    lines: tuple[str, ...]


def steps(language: str) -> list[Step]:
    """In a block marked `run`, each command ends with 0, the last one with its `exit=`."""
    found: list[Step] = []
    for kind, marks, body in fences(language):
        if kind != "console":
            continue
        parts = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
        for number, part in enumerate(parts, 1):
            command, *shown = part.rstrip("\n").split("\n")
            exits = re.search(r"exit=(\d)", marks)
            status = int(exits[1]) if exits and number == len(parts) else 0
            runs = marks.startswith("run")
            found.append(Step(command, tuple(shown), status if runs else None))
    return found


def fences(language: str) -> list[tuple[str, str, str]]:
    text = (GUIDE / f"tuning.{language}.md").read_text(encoding="utf-8")
    return FENCE.findall(text)


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Came]]:
    """The folder after the English guide's commands, and what each of them printed, by its
    place in `steps`."""
    folder = tmp_path_factory.mktemp("guide")
    trial = folder / "trial"
    shutil.copytree(GUIDE / "example", trial)
    program = folder / "bin" / "gridwarden"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m app "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": COLUMNS,
    }
    results: dict[int, Came] = {}
    for number, step in enumerate(steps("en")):
        if step.status is None:
            continue
        done = subprocess.run(
            ["/bin/sh", "-c", step.command],
            cwd=trial,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        lines = (done.stdout + done.stderr).split("\n")
        results[number] = Came(done.returncode, tuple(line.rstrip() for line in lines))
    return trial, results


@pytest.mark.parametrize(
    "number",
    [number for number, step in enumerate(steps("en")) if step.status is not None],
    ids=lambda number: f"{number}: {steps('en')[number].command[:60]}",
)
def test_the_guide_prints_what_is_printed(number: int, came: tuple[Path, dict[int, Came]]) -> None:
    step, result = steps("en")[number], came[1][number]

    assert result.status == step.status, "\n".join(result.lines)
    rest = iter(result.lines)
    for line in step.shown:
        assert line == "[...]" or line in rest, (line, result.lines)


def test_the_picture_is_that_of_the_backtest(came: tuple[Path, dict[int, Came]]) -> None:
    drawn = (came[0] / "change.svg").read_text(encoding="utf-8")

    assert drawn == (ROOT / "docs/images/backtest.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_files_shown_are_those_of_the_example(language: str) -> None:
    shown = [(marks, body) for kind, marks, body in fences(language) if kind == "yaml"]

    assert len(shown) == 2
    for marks, body in shown:
        how, name = marks.split("=")
        text = (GUIDE / "example" / name).read_text(encoding="utf-8")
        assert body == text if how == "file" else body in text, name


def test_both_languages_hold_the_same_steps() -> None:
    assert steps("zh") == steps("en")
