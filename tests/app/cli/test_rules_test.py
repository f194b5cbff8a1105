"""`gridwarden rules test`: what it prints, writes and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from app.cli.rules import app

RULES = """\
rules:
  - id: efire.high
    title: {zh: 过高, en: High}
    on: {family: efire}
    when: residual_current >= 500 mA
    for: 30s
    missing: hold
    severity: 2
  - id: efire.arc
    title: {zh: 电弧, en: Arc}
    on: {family: efire}
    when: arc != 0
    severity: 2
"""
TESTS = """\
devices:
  e1: {family: efire}
tests:
  - name: a leak raises
    rule: efire.high
    series:
      - residual_current: 100x2 600x8 100x2
    expect:
      - {at: 1m, is: raised}
      - {at: 2m, is: cleared}
"""
STRONG = """\
  - name: limits and delay
    rule: efire.high
    series:
      - residual_current: 499x5 500x1 490x5 500x5 480x5
    expect:
      - {at: 2m50s, is: raised, severity: 2}
      - {at: 3m20s, is: cleared}
"""


def run(folder: Path, tests: str, *options: str) -> tuple[int, str]:
    (folder / "a.yml").write_text(RULES)
    (folder / "a.test.yml").write_text(tests)
    result = CliRunner().invoke(app, ["test", str(folder), *options])
    return result.exit_code, result.output


def test_fine(tmp_path: Path) -> None:
    assert run(tmp_path, TESTS) == (0, f"{tmp_path}: 1 tests, 0 failed\n")


def test_a_failed_test_names_file_line_and_what_differs(tmp_path: Path) -> None:
    status, said = run(tmp_path, TESTS.replace("at: 1m,", "at: 70s,"))
    assert status == 1
    assert f"FAILED {tmp_path}/a.test.yml:4: a leak raises" in said
    assert "at 1m and not 1m10s" in said
    assert "expected" in said
    assert "R" in said


def test_a_faulty_file_is_wrong_use_with_line_and_mend(tmp_path: Path) -> None:
    status, said = run(tmp_path, TESTS.replace("600x8", "600*8"))
    assert status == 2
    assert f"{tmp_path}/a.test.yml:7: tests[0].series[0].residual_current: can't read" in said
    assert "mend: " in said


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param(("--rule", "efire.hihg"), "did you mean efire.high?", id="rule"),
        pytest.param(("--junit", "/nowhere/j.xml"), "--junit /nowhere/j.xml", id="junit"),
    ],
)
def test_wrong_options(tmp_path: Path, options: tuple[str, ...], problem: str) -> None:
    status, said = run(tmp_path, TESTS, *options)
    assert status == 2
    assert problem in said


def test_a_folder_without_tests_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULES)
    result = CliRunner().invoke(app, ["test", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds no *.test.yml" in result.output


def test_broken_rules_are_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(RULES.replace("efire.", "efire.b_").replace("!=", "!!"))
    status, said = run(tmp_path, TESTS)
    assert status == 2
    assert f"{tmp_path}/b.yml:12" in said


def test_json(tmp_path: Path) -> None:
    status, said = run(tmp_path, TESTS, "--json", "--coverage", "--mutate")
    document = json.loads(said)
    assert status == 1
    assert (document["tests"], document["failed"]) == (1, 0)
    assert document["results"][0]["passed"] is True
    assert document["coverage"]["rules"]["efire.high"] == {
        "raised": ["a leak raises"],
        "cleared": ["a leak raises"],
        "for not reached": [],
    }
    assert document["coverage"]["untested"] == ["efire.arc"]
    assert document["mutation"]["untested"] == ["efire.arc"]
    assert {one["what"] for one in document["mutation"]["survivors"]} == {
        ">= -> >",
        "500 mA -> 525 mA",
        "500 mA -> 475 mA",
        "2 -> 1 or 3",
    }


def test_survivors_are_untested_limits(tmp_path: Path) -> None:
    status, said = run(tmp_path, TESTS, "--mutate", "--rule", "efire.high")
    assert status == 1
    assert f"{tmp_path}/a.yml:5: efire.high: when: 500 mA -> 525 mA" in said
    assert "add a series such as residual_current: 512.5x12 mA" in said
    status, said = run(tmp_path, TESTS + STRONG, "--mutate", "--rule", "efire.high")
    assert status == 0
    assert "0 noticed by no test" in said


def test_coverage_can_be_demanded(tmp_path: Path) -> None:
    status, said = run(tmp_path, TESTS + STRONG, "--min-coverage", "60")
    assert status == 0
    assert "coverage: 3 of 5 ways, 60.0 %" in said
    assert "rules without a test: efire.arc" in said
    assert run(tmp_path, TESTS + STRONG, "--min-coverage", "61")[0] == 1


def test_junit(tmp_path: Path) -> None:
    status, _ = run(tmp_path, TESTS.replace("at: 1m,", "at: 70s,"), "--junit", f"{tmp_path}/j.xml")
    top = ElementTree.parse(tmp_path / "j.xml").getroot()  # noqa: S314 - written here.
    assert status == 1
    assert (top.get("tests"), top.get("failures")) == ("1", "1")
    case = top.find("testsuite/testcase")
    assert case is not None
    assert (case.get("name"), case.get("line")) == ("a leak raises", "4")
    assert "at 1m and not 1m10s" in (case.findtext("failure") or "")


def test_one_file_and_one_rule(tmp_path: Path) -> None:
    run(tmp_path, TESTS + STRONG)
    (tmp_path / "b.test.yml").write_text(TESTS.replace("a leak", "another"))
    ran = CliRunner().invoke(app, ["test", str(tmp_path / "b.test.yml")])
    assert "1 tests, 0 failed" in ran.output
    ran = CliRunner().invoke(app, ["test", str(tmp_path), "--rule", "efire.arc"])
    assert "0 tests, 0 failed" in ran.output


def test_logs_can_be_kept(tmp_path: Path) -> None:
    status, _ = run(tmp_path, TESTS, "--keep", str(tmp_path / "logs"))
    assert status == 0
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["a-4.dump"]


LINGER = """\
rules:
  - {id: efire.cut, title: {zh: 停电, en: Cut}, on: {family: efire}, when: fault != 0, severity: 2}
  - id: smoke.quiet
    title: {zh: 无数据, en: Silent}
    on: {family: smoke}
    when: absent(5m)
    severity: 3
    inhibit: [{by: efire.cut, on: building, linger: 2m}]
"""
LINGER_TEST = """\
tests:
  - name: devices report again after a power cut
    devices:
      e1: {family: efire, building: "1", grid: "340199001001001"}
      s1: {family: smoke, building: "1", grid: "340199001001001"}
      s2: {family: smoke, building: "1", grid: "340199001001001"}
    series:
      - {device: e1, fault: 0x2 1x56 0x40}
      - {device: s1, rssi: -50x2 _x65 -50x30}
      - {device: s2, rssi: -50x2}
    expect:
      - {at: 30s, rule: efire.cut, device: e1, is: raised}
      - {at: 10m, rule: efire.cut, device: e1, is: cleared}
      - {at: 5m20s, rule: smoke.quiet, device: s1, is: raised, delivery: inhibited}
      - {at: 5m20s, rule: smoke.quiet, device: s2, is: raised, delivery: inhibited}
      - {at: 11m20s, rule: smoke.quiet, device: s1, is: cleared, delivery: inhibited}
      - {at: 12m, rule: smoke.quiet, device: s2, is: released, known_at: 12m}
"""


def test_an_inhibitor_that_lingers(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(LINGER)
    (tmp_path / "a.test.yml").write_text(LINGER_TEST)
    result = CliRunner().invoke(app, ["test", str(tmp_path)])
    assert (result.exit_code, result.output) == (0, f"{tmp_path}: 1 tests, 0 failed\n")
