"""Two streets, one override: other limits, and alerts that say where they come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.rules import app
from app.content import (
    ContentError,
    load_rules,
    pack_rules,
    rule_folders,
    shipped_rules,
    unpack_files,
    unpack_rules,
)
from app.runners.recording import open_recording
from app.runners.replay import replay
from contracts.alerts import encode_event
from ingest.registry import load as load_registry
from rules import RulesInvalid
from rules.ruleset import RuleSet
from tests.app.scene import T0, S

DISTRICT = """\
extends: shipped
layer: 包河区
overrides:
  - rule: firewater.pressure_low_sprinkler
    set: {for: 30s}
"""
STREET = """\
extends: ../district
layer: 骆岗街道
overrides:
  - rule: firewater.pressure_low_sprinkler
    where: {grid: "340111002"}
    set:
      when: static_pressure < 0.13 MPa
      clear: static_pressure > 0.14 MPa
    why: {zh: 管网老旧，压力波动大, en: "Old pipes, the pressure swings"}
"""


@pytest.fixture
def street(tmp_path: Path) -> Path:
    for name, text in (("district", DISTRICT), ("street", STREET)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "overrides.yml").write_text(text, encoding="utf-8")
    return tmp_path / "street"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "registry"
    folder.mkdir()
    areas = ["code,level,name", "340111,district,包河区"]
    grids, devices = ["code,name,kind"], ["device,family,grid,point,building_class"]
    for n in (2, 3):
        areas += [f"34011100{n},street,街道{n}", f"34011100{n}001,community,社区{n}"]
        grids.append(f"34011100{n}001001,网格{n},居民区")
        devices.append(f"fw-{n},firewater,34011100{n}001001,sprinkler,highrise_residential")
    for name, lines in (("areas", areas), ("grids", grids), ("devices", devices)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def played(rules: RuleSet, registry: Path, tmp_path: Path) -> list[dict[str, Any]]:
    lines = []
    for at_s in range(0, 300, 10):
        value = 0.11 if at_s < 120 else 0.05
        for n in (2, 3):
            told = {"deviceId": f"fw-{n}", "family": "firewater", "ts": T0 + at_s * S}
            lines.append(json.dumps(told | {"metrics": {"static_pressure": value}}))
    path = tmp_path / "past.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    events: list[bytes] = []
    replay(
        open_recording(path),
        ruleset=rules,
        registry=load_registry(registry),
        settings=None,
        on_step=lambda step: events.extend(encode_event(event) for event in step.events),
    )
    return [json.loads(event) for event in events]


def test_each_street_is_judged_by_its_limit_and_the_alert_says_whose_it_is(
    street: Path, registry: Path, tmp_path: Path
) -> None:
    events = played(load_rules(street), registry, tmp_path)
    found = {
        event["data"]["device"]: event
        for event in events
        if event["data"]["rule"]["id"] == "firewater.pressure_low_sprinkler"
        and event["data"]["change"] == "raised"
    }
    two, three = found["fw-2"]["data"], found["fw-3"]["data"]
    assert (two["threshold"], three["threshold"]) == (0.13, 0.1)
    assert (two["timing"]["on_delay_ms"], three["timing"]["on_delay_ms"]) == (30_000, 30_000)
    assert two["onset"] < three["onset"]
    assert two["rule"]["variant"] == "grid=340111002"
    assert two["rule"]["layer"] == "骆岗街道"
    assert two["rule"]["source"] == "overrides.yml:4"
    assert two["rule"]["why"]["en"] == "Old pipes, the pressure swings"
    assert (three["rule"]["variant"], three["rule"]["layer"]) == ("", "包河区")
    assert three["rule"]["source"] == "../district/overrides.yml:4"
    assert two["rule"]["hash"] != three["rule"]["hash"]


def test_packed_rules_need_none_of_the_folders(
    street: Path, registry: Path, tmp_path: Path
) -> None:
    content, before = pack_rules(street), load_rules(street)
    events = played(before, registry, tmp_path)
    assert {"../district/overrides.yml", "shipped:firewater.yml"} <= unpack_files(content).keys()
    shutil.rmtree(street)
    shutil.rmtree(tmp_path / "district")
    again = unpack_rules(content)
    assert again == before
    assert played(again, registry, tmp_path) == events


def test_findings_name_the_file_itself(street: Path) -> None:
    below = street.parent / "district" / "overrides.yml"
    below.write_text(DISTRICT.replace("pressure_low", "presure_low"), encoding="utf-8")
    with pytest.raises(RulesInvalid) as caught:
        load_rules(street)
    assert str(caught.value).startswith(f"{below}:4: overrides[0].rule: no rule")
    result = CliRunner().invoke(app, ["check", str(street)])
    assert f"{below}:4: overrides[0].rule" in result.output


def test_a_layer_that_is_not_there_is_named(street: Path) -> None:
    shutil.rmtree(street.parent / "district")
    with pytest.raises(ContentError, match=r"overrides.yml:1: extends .*district: no such folder"):
        load_rules(street)


def test_layers_in_a_circle_are_refused(street: Path) -> None:
    below = street.parent / "district" / "overrides.yml"
    below.write_text(DISTRICT.replace("shipped", "../street"), encoding="utf-8")
    with pytest.raises(ContentError, match="goes round in a circle"):
        load_rules(street)


def test_all_layers_are_looked_at(street: Path) -> None:
    assert set(rule_folders(street)) == {street, street.parent / "district", shipped_rules()}
    assert rule_folders(shipped_rules()) == (shipped_rules(),)


def test_overrides_for_nobody_are_found(street: Path, registry: Path) -> None:
    text = STREET.replace("340111002", "340111009")
    (street / "overrides.yml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(street), "--registry", str(registry)])
    assert (
        f"{street}/overrides.yml:4: firewater.pressure_low_sprinkler.where: no grid begins with"
        in (result.output)
    )


def test_show_says_what_holds_for_a_device_and_why(street: Path, registry: Path) -> None:
    options = ["--device", "fw-2", "--registry", str(registry), "--json"]
    result = CliRunner().invoke(
        app, ["show", str(street), "firewater.pressure_low_sprinkler", *options]
    )
    (document,) = json.loads(result.output)
    found = {value["key"]: value for value in document["values"]}
    assert document["variant"] == "grid=340111002"
    assert found["when"]["value"] == "static_pressure < 0.13 MPa"
    assert found["when"]["source"] == f"{street}/overrides.yml:7"
    assert found["for"]["source"] == f"{street.parent}/district/overrides.yml:5"
    assert found["severity"]["layer"] == "shipped"
    assert document["cost"]["machine_rows"] == 1


def test_explain_speaks_both_languages(street: Path) -> None:
    for language, said in (("zh", "低于 0.13 MPa"), ("en", "is below 0.13 MPa")):
        result = CliRunner().invoke(
            app, ["explain", str(street), "firewater.pressure_low_sprinkler", "--lang", language]
        )
        assert said in result.output, result.output
