"""Every command line in deploy/ is one that this version understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.root import VERBS, build
from app.stream.settings import load
from edge.settings import load as load_edge
from tests.deploy.files import DEPLOY, commands, compose

NOT_YET: set[str] = set()
"""Verbs that deploy/ names and that are still being built. This set may only shrink."""


def test_every_verb_is_there_but_those_still_being_built() -> None:
    verbs = {arguments[0] for _, arguments in commands()}

    assert {"topics", "bridge", "worker", "dispatch", "up", "edge"} <= verbs
    assert verbs - {*VERBS, "edge", "schema"} <= NOT_YET


@pytest.mark.parametrize(
    ("where", "arguments"), [pytest.param(*one, id=one[0]) for one in commands()]
)
def test_a_command_line_parses(where: str, arguments: list[str]) -> None:
    verb = arguments[0]
    if verb == "edge":
        assert arguments[1:3] == ["run", "--config"]
        assert callable(load_edge)
        return
    if verb not in VERBS:
        assert verb in NOT_YET, where
        return
    command: Any = typer.main.get_command(build(verb))
    rest = list(arguments)
    context = None
    while hasattr(command, "get_command"):
        context = command.make_context(rest[0], list(rest), parent=context)
        command = command.get_command(context, rest.pop(0))
        assert command is not None, f"{where}: {arguments}"
    parsed = command.make_context(verb, rest, parent=context)
    assert str(parsed.params["config"]) == arguments[-1]


@pytest.mark.parametrize(
    "path", sorted(DEPLOY.glob("**/gridwarden.toml")), ids=lambda p: str(p.relative_to(DEPLOY))
)
def test_settings_are_valid(path: Path) -> None:
    settings = load(path)
    assert settings.topics.partitions >= 8
    assert settings.kafka.servers


ENVIRONMENTS = [
    pytest.param(name, key, str(value), id=f"{name}-{key}")
    for name, service in compose()["services"].items()
    for key, value in service.get("environment", {}).items()
    if key.startswith("GRIDWARDEN_")
]


@pytest.mark.parametrize(("name", "key", "value"), ENVIRONMENTS)
def test_each_variable_of_a_service_is_understood(
    name: str, key: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = DEPLOY / "compose" / "gridwarden.toml"
    before = load(path)
    monkeypatch.setenv(key, value)
    assert load(path) != before, f"{name}: {key} changes nothing"


def test_the_group_that_scaling_watches_is_the_workers() -> None:
    text = (DEPLOY / "kubernetes" / "base" / "worker.yaml").read_text(encoding="utf-8")
    settings = load(DEPLOY / "kubernetes" / "base" / "gridwarden.toml")
    assert f"consumerGroup: {settings.topics.prefix}workers\n" in text
    assert f"topic: {settings.layout.log.name}\n" in text
    assert f"bootstrapServers: {settings.kafka.bootstrap}\n" in text
