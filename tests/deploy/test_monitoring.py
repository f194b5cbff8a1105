"""Alerts, scrapes and dashboards speak of metrics that exist."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from app.metrics import Metrics
from contracts.batch import TaggedBatch
from tests.deploy.files import DEPLOY, compose
from tests.ingest.packs import T0
from tests.ingest.telemetry.influx.rows import GRID, batch, opened, town
from tests.parts.telemetry_servers import Influx1
from tests.parts.tools import ROOT

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
NAME = re.compile(r"\bgridwarden_[a-z_]+")


def known_names() -> set[str]:
    """Names as Prometheus sees them, of every process of ours."""
    registries: list[CollectorRegistry] = [Metrics().registry]
    for path in sorted((ROOT / "app" / "stream").glob("*_metrics.py")):
        module = importlib.import_module(f"app.stream.{path.stem}")
        for name, made in vars(module).items():
            if name.endswith("Metrics") and getattr(made, "__module__", "") == module.__name__:
                registries.append(made().registry)
    names: set[str] = set()
    for registry in registries:
        for metric in registry.collect():
            names |= {metric.name + end for end in _ENDS.get(metric.type, ("",))}
    return names


_ENDS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def used_names(text: str) -> set[str]:
    return set(NAME.findall(text)) - {"gridwarden_10m"}


@pytest.mark.parametrize("path", [*DASHBOARDS, PROMETHEUS / "alerts.yml"], ids=lambda p: p.name)
def test_metrics_that_are_named_exist(path: Path) -> None:
    assert used_names(path.read_text(encoding="utf-8")) - known_names() == set()


def test_the_store_is_watched() -> None:
    used = used_names((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))
    assert {"gridwarden_telemetry_store_up", "gridwarden_telemetry_store_lost_rows"} <= used


def promtool(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [program, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_configuration_and_alerts(require_tool: Callable[[str], str]) -> None:
    program = require_tool("promtool")
    promtool(program, "check", "config", "--syntax-only", "prometheus.yml")
    promtool(program, "check", "rules", "alerts.yml")
    promtool(program, "test", "rules", "alerts.test.yml")


def test_what_is_scraped_is_there() -> None:
    services = compose()["services"]
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    for job in scraped["scrape_configs"]:
        for config in job.get("static_configs", []):
            assert {target.split(":")[0] for target in config["targets"]} <= set(services)


def dashboard(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.name)
def test_a_dashboard_asks_sources_that_are_provided(path: Path) -> None:
    provided = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/gridwarden.yml").read_text(encoding="utf-8")
    )
    sources = {(one["type"], one["uid"]) for one in provided["datasources"]}
    document = dashboard(path)
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    for panel in document["panels"]:
        for target in panel["targets"]:
            assert (target["datasource"]["type"], target["datasource"]["uid"]) in sources


def test_influxdb_answers_what_the_dashboard_asks(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("influxd")
    values = {
        "$device": "d0",
        "$grid": GRID,
        "$quantity": "static_pressure",
        "$timeFilter": f"time >= {T0}ms AND time < {T0 + 60_000}ms",
        "$__interval": "10s",
    }
    document = dashboard(DEPLOY / "grafana" / "dashboards" / "readings.json")
    with Influx1(tmp_path / "influx1") as server:
        with opened(tmp_path, server.url, version=1) as store:
            store.write(batch(0, 40), town())
            store.write(TaggedBatch.of([(0, "static_pressure", T0 + 5, float("nan"))]), town())
        queries = [t["query"] for panel in document["panels"] for t in panel["targets"]]
        lists = [one["query"] for one in document["templating"]["list"]]
        for query in queries + lists:
            for name, value in values.items():
                query = query.replace(name, value)
            assert "$" not in query
            (series, *_) = server.ask(query)
            assert series["values"], query


def set_up_influxdb(folder: Path) -> str:
    """What the set-up prints; the command that it calls is a stand-in."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    stand_in = Path(__file__).with_name("influx_stand_in.py")
    (commands / "influx").write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} {folder} "$@"\n')
    (commands / "influx").chmod(0o755)
    done = subprocess.run(
        ["sh", str(DEPLOY / "influxdb" / "setup.sh")],
        env={"PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_influxdb_is_set_up_once(tmp_path: Path) -> None:
    said = set_up_influxdb(tmp_path)
    assert re.findall(r"^(influx_\w+_token):\n(\S+)$", said, re.MULTILINE) == [
        ("influx_worker_token", "token-1"),
        ("influx_charts_token", "token-2"),
    ]
    made = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    rows = [text for path, text in made.items() if path.parent.name == "dbrp"]
    assert {row.split("\t")[1] for row in rows} == {"gridwarden", "gridwarden_10m"}
    flux = made[tmp_path / "task.flux"]
    assert "BUCKET" not in flux
    assert flux.count('to(bucket: "gridwarden_10m")') == 2
    assert set_up_influxdb(tmp_path) == ""
    assert {path: path.read_text() for path in made} == made
