"""`gridwarden rules check`: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from app.cli.rules import app

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


def test_no_folder_is_wrong_use(tmp_path: Path) -> None:
    status, said = check(tmp_path / "none")
    assert status == 2
    assert "no such folder" in said
