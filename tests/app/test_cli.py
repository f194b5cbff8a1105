"""The command line that others script against: verbs, options, statuses."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import edge
from app.cli.root import VERBS, build
from app.main import _run
from tests.app.running import gridwarden
from tests.parts.tools import ROOT

STABLE = {
    "up": {"--config", "--demo"},
    "replay": {"--input", "--rules", "--registry", "--out", "--json"},
    "simulate": {"--out", "--json"},
    "receiver": {"--out", "--json"},
    "rules check": {"DIR", "--json"},
    "rules test": {"DIR", "--json"},
    "registry check": {"DIR", "--json"},
    "log dump": {"--data", "--out", "--json"},
    "log info": {"--data", "--json"},
    "quarantine list": {"--data", "--json"},
    "quarantine show": {"--data", "--json"},
    "quarantine replay": {"--data", "--json"},
    "gaps": {"--data", "--worker", "--json"},
    "bench": {"NAME", "--json", "--quick"},
    "explain": {"ALERT_ID", "--data", "--json"},
}
"""Verb -> what scripts give it. Options may be added; none may go."""


@cache
def leaves() -> dict[str, Any]:
    """Verb with its sub-verb -> its command, of the whole command line."""

    def walk(command: Any, path: tuple[str, ...]) -> dict[str, Any]:
        children = getattr(command, "commands", {})
        if not children:
            return {" ".join(path): command}
        found: dict[str, Any] = {}
        for name, child in children.items():
            found |= walk(child, (*path, name))
        return found

    return walk(typer.main.get_command(build()), ())


def test_no_verb_is_missing_here() -> None:
    found = {name.split()[0] for name in leaves()}
    assert found == {*VERBS, "edge", "schema"}
    assert set(STABLE) <= set(leaves())


@pytest.mark.parametrize("verb", STABLE)
def test_the_options_stay(verb: str) -> None:
    parameters = leaves()[verb].params
    words = {word for one in parameters if one.param_type_name == "option" for word in one.opts}
    words |= {
        one.metavar or (one.name or "").upper()
        for one in parameters
        if one.param_type_name == "argument"
    }
    assert STABLE[verb] - words == set()


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb, command in leaves().items():
        if verb == "edge":
            continue
        status = _run(build(verb.split()[0]), [*verb.split(), "--help"])
        out = capsys.readouterr().out
        assert status == 0
        assert f"Usage: gridwarden {verb}" in out
        assert command.help, verb


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_the_agent_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        edge.main(words)
    assert left.value.code == 0
    assert "usage: gridwarden edge" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file", ["README.md", *sorted(str(f.relative_to(ROOT)) for f in ROOT.glob("docs/*.md"))]
)
def test_documents_name_verbs_that_exist(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    named = re.findall(
        r"(?:`|^    (?:\$ )?|bin/)gridwarden ([a-z]+)(?: ([a-z]+))?", text, re.MULTILINE
    )
    known = {tuple(name.split()) for name in leaves()}
    verbs = {name[0] for name in known}
    groups = {name[0] for name in known if len(name) > 1}
    for verb, second in named:
        assert verb in verbs, f"{file}: gridwarden {verb}"
        if verb in groups and second:
            assert (verb, second) in known, f"{file}: gridwarden {verb} {second}"


def test_the_front_door_of_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", readme, re.MULTILINE))
    assert {"run", "test"} <= named <= targets


def test_a_simulated_recording_through_the_verbs(tmp_path: Path) -> None:
    """From nothing to explained alerts with commands only, as a rule-tuning operator works."""
    made = gridwarden(
        *("simulate", "--out", tmp_path, "--hours", "0.05", "--profile", "demo", "--json"),
        *("--devices", "60", "--gateways", "2", "--grids", "2"),
    )
    assert made.returncode == 0, made.stderr
    paths = json.loads(made.stdout)
    out = tmp_path / "events.jsonl"
    told = gridwarden(
        *("replay", "--input", paths["input"], "--rules", ROOT / "deploy" / "rules"),
        *("--registry", paths["registry"], "--out", out, "--json"),
    )
    assert told.returncode == 0, told.stderr
    events = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    summary = json.loads(told.stdout)
    assert summary["readings"] == paths["readings"]
    assert summary["events"] == len(events) > 0
    why = gridwarden("explain", events[0]["subject"], "--events", out, "--json")
    assert why.returncode == 0, why.stderr
    assert json.loads(why.stdout)["events"][0] == events[0]
