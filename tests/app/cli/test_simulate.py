"""`gridwarden simulate` as scripts call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ingest.registry import check


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_writes_a_recording_a_registry_and_the_truth(tmp_path: Path) -> None:
    done = simulate("--out", str(tmp_path / "a"), "--hours", "0.05", "--seed", "3", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["readings"] > 1000
    lines = Path(told["truth"]).read_text(encoding="utf-8").splitlines()
    assert len(lines) == told["happenings"] >= 1
    assert json.loads(lines[0])["kind"] == "fire"
    assert check(Path(told["registry"])) == []
    simulate("--out", str(tmp_path / "b"), "--hours", "0.05", "--seed", "3")
    again = (tmp_path / "b" / "readings.jsonl").read_bytes()
    assert again == Path(told["input"]).read_bytes()


def test_wrong_use_is_one_line_and_status_two(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for arguments in (
        ("--out", str(tmp_path), "--profile", "storm"),
        ("--out", str(tmp_path), "--start", "yesterday"),
        ("--out", str(blocked)),
    ):
        done = simulate(*arguments)
        assert done.returncode == 2, arguments
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
