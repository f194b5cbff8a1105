"""`gridwarden rules backtest` on a recording of a few minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RULES = """rules:
  - id: efire.high
    title: {{zh: 剩余电流过高, en: Residual current high}}
    on: {{family: efire}}
    when: residual_current >= {limit} mA
    for: 30s
    severity: 2
  - id: smoke.fire
    title: {{zh: 火警, en: Fire}}
    on: {{family: smoke}}
    when: {fire}
    severity: 1
    class: safety
"""
T0 = 1_780_000_000_000


@pytest.fixture
def past(tmp_path: Path) -> Path:
    """e1 goes to 350 mA for two minutes, s1 reports a fire."""
    lines = []
    for second in range(0, 600, 10):
        current = 350 if 100 <= second < 220 else 100
        lines.append(reading("e1", "efire", second, {"residual_current": current}))
        lines.append(reading("s1", "smoke", second, {"fire": int(second == 300)}))
    path = tmp_path / "past.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def reading(device: str, family: str, second: int, metrics: dict[str, float]) -> str:
    at = T0 + second * 1_000
    return json.dumps({"deviceId": device, "family": family, "ts": at, "metrics": metrics})


def rules(folder: Path, limit: int, fire: str = "fire != 0") -> Path:
    folder.mkdir()
    (folder / "r.yml").write_text(RULES.format(limit=limit, fire=fire), encoding="utf-8")
    return folder


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", "rules", "backtest", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_higher_limit_loses_an_alert(tmp_path: Path, past: Path) -> None:
    old, new = rules(tmp_path / "old", 300), rules(tmp_path / "new", 500)
    svg, out = tmp_path / "change.svg", tmp_path / "change.jsonl"
    said = run(
        "--old", old, "--new", new, "--input", past, "--svg", svg, "--out", out, "--json"
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)
    assert (document["same"], document["lost"], document["added"]) == (1, 1, 0)
    assert document["readings"] == 120
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(line["verdict"], (line["old"] or line["new"])["rule"]) for line in lines] == [
        ("lost", "efire.high"),
        ("same", "smoke.fire"),
    ]
    assert lines[0]["old"]["raised_ms"] == T0 + 130_000
    assert "efire.high" in svg.read_text(encoding="utf-8")


def test_a_limit_on_changes_is_an_exit_status(tmp_path: Path, past: Path) -> None:
    old, new = rules(tmp_path / "old", 500), rules(tmp_path / "new", 300)
    assert run("--old", old, "--new", new, "--input", past, "--max-added", 1).returncode == 0
    said = run("--old", old, "--new", new, "--input", past, "--max-added", 0)
    assert said.returncode == 1
    assert "1 alerts added, the limit is 0" in said.stdout
    assert "efire.high" in said.stdout


def test_a_lost_safety_alert_is_always_a_finding(tmp_path: Path, past: Path) -> None:
    old, new = rules(tmp_path / "old", 300), rules(tmp_path / "new", 300, "fire > 1")
    said = run("--old", old, "--new", new, "--input", past)
    assert said.returncode == 1
    assert "alerts of safety rules are lost: smoke.fire" in said.stdout
    accepted = run("--old", old, "--new", new, "--input", past, "--accept-lost-safety")
    assert accepted.returncode == 0


def test_what_can_not_be_read_is_one_line_and_status_2(tmp_path: Path, past: Path) -> None:
    old = rules(tmp_path / "old", 300)
    missing = run("--old", old, "--new", tmp_path / "none", "--input", past)
    assert missing.returncode == 2
    assert "none: no such folder" in missing.stderr
    broken = rules(tmp_path / "broken", 300, "fyre != 0")
    said = run("--old", old, "--new", broken, "--input", past)
    assert said.returncode == 2
    assert "broken/r.yml:" in said.stderr
    assert "fyre" in said.stderr
    nothing = run("--old", old, "--new", old, "--input", tmp_path / "none.jsonl")
    assert nothing.returncode == 2
    assert "none.jsonl" in nothing.stderr


def test_times_are_local_with_their_offset(tmp_path: Path, past: Path) -> None:
    old, new = rules(tmp_path / "old", 300), rules(tmp_path / "new", 500)
    svg = tmp_path / "change.svg"
    sides = ("--old", old, "--new", new, "--input", past)
    assert "lost 丢失: efire.high e1 2026-05-29T04:28:50+08:00" in run(*sides, "--svg", svg).stdout
    assert "Asia/Shanghai (UTC+08:00)" in svg.read_text(encoding="utf-8")
    assert "e1 2026-05-28T22:28:50+02:00" in run(*sides, "--zone", "Europe/Berlin").stdout
    wrong = run(*sides, "--zone", "Asia/Shanghia")
    assert wrong.returncode == 2
    assert "did you mean Asia/Shanghai?" in wrong.stderr


def test_a_refusal_names_the_file_once(tmp_path: Path, past: Path) -> None:
    fine = rules(tmp_path / "fine", 300)
    wrong = rules(tmp_path / "wrong", 300, fire="fire != 0 mA")
    done = run("--old", fine, "--new", wrong, "--input", past)
    assert done.returncode == 2
    assert f"{wrong}/r.yml:" in done.stderr
    assert done.stderr.count(str(wrong)) == 1
