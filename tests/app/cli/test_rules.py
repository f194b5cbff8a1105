"""`gridwarden rules check`: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.rules import app
from app.content import read_rule_files, shipped_rules
from rules import compile_rules
from rules.lint_registry import KNOWN

GOOD = """\
rules:
  - id: efire.high
    title: {zh: 过高, en: High}
    on: {family: efire}
    when: residual_current >= 500 mA
    severity: 2
    standard: proposal
    reason: {zh: 因, en: why}
    runbook: {zh: 做, en: do}
"""


def check(folder: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", str(folder), *options])
    return result.exit_code, result.output


def test_fine(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(GOOD)
    (tmp_path / "a.test.yml").write_text("anything: [")
    assert check(tmp_path) == (0, f"{tmp_path}: 1 rules, 0 findings\n")


def test_findings_name_file_line_and_mend(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(GOOD.replace("residual_current", "residual_curent"))
    status, said = check(tmp_path)
    assert status == 1
    assert f"{tmp_path}/a.yml:5: rules[0].when: unknown quantity residual_curent" in said
    assert "mend: did you mean residual_current?" in said


def test_json(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(GOOD.replace("    standard: proposal\n", ""))
    status, said = check(tmp_path, "--json")
    document = json.loads(said)
    assert status == 1
    assert document["rules"] == 1
    assert document["findings"][0]["path"] == "efire.high.standard"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("when: ", "when：", "5: no YAML: a full-width colon ： behind when; mend: write when: "),
        ("rules:", "rules：", "1: no YAML: a full-width colon ： behind rules; mend: write rules:"),
        (
            "title: {zh: ",
            "title: {zh：",
            "3: rules[0].title.zh：过高: unknown key zh：过高; mend: ",
        ),
        ("过高, en", "过高，en", "3: no YAML: a full-width comma ， between keys; mend: write , "),
        ("    on: ", "\ton: ", "4: no YAML: found character '\\t'"),
        ("when: ", "when:", "5: no YAML: no blank behind when:; mend: write when: and a blank"),
        ("{zh: 做, en: do}", "{zh: 做, en: do", "; mend: close the quote or the bracket"),
        ("standard: proposal", "standard: a: b", "7: no YAML: mapping values are not allowed"),
        (">= 500 mA", "＞＝ ５００ mA", "＞ is no ASCII character (column 18); mend: write resid"),
        (">= 500 mA", "≥ 500 mA", "≥ is no ASCII character (column 18); mend: write residual_"),
        ("efire}", "efire, point: “door”}", "4: rules[0].on.point: “door” stands in quotation m"),
        ("efire}", 'efire, point: "“A”座"}', "1 rules, 0 findings"),
    ],
)
def test_what_a_chinese_keyboard_writes_is_named(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    (tmp_path / "a.yml").write_text(GOOD.replace(old, new, 1))
    _, said = check(tmp_path)
    assert told in said
    for line in said.splitlines()[:-1]:
        assert "; mend: " in line


def test_the_mend_of_a_full_width_expression_can_be_pasted(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(GOOD.replace(">= 500 mA", "＞＝ ５００ mA"))
    mend = check(tmp_path)[1].splitlines()[0].partition("; mend: write ")[2]
    (tmp_path / "a.yml").write_text(GOOD.replace("residual_current >= 500 mA", mend))
    assert check(tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("gb18030", "a.yml:3: no UTF-8 text (it seems to be GBK)"),
        ("utf-16", "(it seems to be UTF-16)"),
    ],
)
def test_a_file_of_another_encoding_is_named(tmp_path: Path, encoding: str, told: str) -> None:
    (tmp_path / "fine.yml").write_text(GOOD)
    (tmp_path / "a.yml").write_bytes(GOOD.encode(encoding))
    status, said = check(tmp_path)
    assert status == 2
    assert told in said
    assert f"{tmp_path}/a.yml:" in said
    assert "save the file as UTF-8" in said


def test_files_are_rules_however_their_ending_is_written(tmp_path: Path) -> None:
    (tmp_path / "A.YML").write_text(GOOD)
    (tmp_path / "b.yml").write_text(GOOD.replace("efire.high", "efire.more"))
    (tmp_path / "a.TEST.YML").write_text("anything: [")
    assert "2 rules" in check(tmp_path)[1]


def test_no_folder_is_wrong_use(tmp_path: Path) -> None:
    status, said = check(tmp_path / "none")
    assert status == 2
    assert "no such folder" in said


PRESSURE = GOOD.replace("efire", "firewater").replace(
    "residual_current >= 500 mA", "static_pressure < 0.07 MPa"
)
WORST = PRESSURE.replace("family: firewater", "family: firewater, point: worst")


def layered(folder: Path, override: str, base: str = WORST) -> Path:
    (folder / "city").mkdir()
    (folder / "city" / "a.yml").write_text(base)
    (folder / "street").mkdir()
    top = f"extends: ../city\noverrides:\n  - {override}\n"
    (folder / "street" / "s.yml").write_text(top)
    return folder / "street"


def registry_of(folder: Path) -> Path:
    folder.mkdir()
    grid = "340199009001001"
    (folder / "areas.csv").write_text("code,level,name\n340199,district,区\n340199009,street,街\n")
    (folder / "grids.csv").write_text(
        f"code,name,kind,valid_from,valid_to,state,reason\n"
        f"{grid},网格,residential,2000-01-01,,valid,\n"
    )
    rows = ("fw-in,firewater,indoor", "fw-none,firewater,", "fw-far,firewater,worst", "ef,efire,")
    listed = [row.split(",") for row in rows]
    lines = [f"{name},{family},gw,{grid},{point}" for name, family, point in listed]
    text = "\n".join(["device,family,gateway,grid,point", *lines])
    (folder / "devices.csv").write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (WORST.replace("point", "piont"), "firewater.high.on.piont: an attribute piont that is kn"),
        (WORST.replace("point", "floors"), "mend: did you mean floor?"),
        (WORST.replace("point", "grid"), "mend: write the rule for all, and overrides with where"),
        (WORST.replace("point", "paint_colour"), "1 rules, 0 findings"),
        (WORST, "1 rules, 0 findings"),
    ],
)
def test_an_attribute_that_looks_misspelt_is_found_without_a_registry(
    tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "a.yml").write_text(text)
    assert told in check(tmp_path)[1]


def test_where_is_compared_with_attributes_that_are_known(tmp_path: Path) -> None:
    said = '{rule: firewater.high, where: {buildng: "3"}, set: {for: 5s}}'
    status, told = check(layered(tmp_path, said))
    assert status == 1
    assert "s.yml:3: firewater.high.where.buildng: " in told
    assert "did you mean building?" in told


def test_an_override_for_devices_that_the_rule_leaves_out_is_refused(tmp_path: Path) -> None:
    said = "{rule: firewater.high, where: {point: indoor}, set: {for: 5s}}"
    told = check(layered(tmp_path, said))[1]
    assert "s.yml:3: overrides[0].where: fits no device of firewater.high: its on asks" in told


def test_what_the_shipped_rules_ask_for_is_known_without_a_registry() -> None:
    rules = compile_rules(read_rule_files(shipped_rules())).rules
    assert {name for rule in rules for name, _ in rule.selectors} <= set(KNOWN)


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("fw-in", "on asks for point worst, the registry says indoor"),
        ("fw-none", "on asks for point worst, the registry says nothing of it"),
        ("ef", "it is for firewater devices, this one is of family efire"),
        ("fw-far", "an override switches it off for this device: enabled: false"),
    ],
)
def test_show_says_why_a_rule_does_not_watch_a_device(
    tmp_path: Path, device: str, why: str
) -> None:
    said = '{rule: firewater.high, where: {grid: "34"}, set: {enabled: false}}'
    folder, registry = layered(tmp_path, said), registry_of(tmp_path / "registry")
    asked = ["show", str(folder), "firewater.high", "--device", device, "--registry", str(registry)]
    told = CliRunner().invoke(app, asked)
    assert told.output == f"firewater.high doesn't watch {device}: {why}\n"
    document = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    assert document == [{"rule": "firewater.high", "why_not": why}]


def test_what_other_towns_have_is_no_finding_of_the_shipped_rules(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "registry")
    folder = tmp_path / "street"
    folder.mkdir()
    (folder / "s.yml").write_text("extends: shipped\n")
    status, said = check(folder, "--registry", str(registry), "--json")
    document = json.loads(said)
    asked = {one["path"] for one in document["remarks"]}
    assert "firewater.pressure_low_sprinkler.on.point" in asked
    # There are devices of its family, and the registry has no such column.
    missing = {one["path"] for one in document["findings"]}
    assert "firewater.pressure_low.on.building_class" in missing
    text = (
        (registry / "devices.csv")
        .read_text()
        .replace(",point\n", ",point,building_class,hydrant\n")
    )
    lines = [f"{line},multi_storey,indoor" for line in text.splitlines()[1:]]
    (registry / "devices.csv").write_text("\n".join([text.splitlines()[0], *lines]) + "\n")
    status, said = check(folder, "--registry", str(registry))
    assert "values that shipped rules ask for are at no device of this registry" in said
    assert status == 0, said


def test_a_rated_number_of_zero_is_found(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "registry")
    text = (registry / "devices.csv").read_text().splitlines()
    rated = [f"{text[0]},rated_current", *(f"{line},0" for line in text[1:])]
    (registry / "devices.csv").write_text("\n".join(rated) + "\n")
    folder = tmp_path / "rules"
    folder.mkdir()
    asked = GOOD.replace("residual_current >= 500 mA", "current > attr(rated_current, A) * 1.1")
    (folder / "a.yml").write_text(asked)
    status, said = check(folder, "--registry", str(registry))
    assert status == 1
    assert "1 of the 1 devices that it watches have rated_current 0; mend: leave it empty" in said
