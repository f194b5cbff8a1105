"""`gridwarden capacity`: figures that come with it, and one clear line where it can't."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.app.running import gridwarden
from tests.parts.tools import ROOT

CITY = ("capacity", "--devices", "1000000", "--readings-per-s", "100000")


def test_a_plan_and_where_it_comes_from(tmp_path: Path) -> None:
    done = gridwarden(*CITY, "--simulate", "--picture", tmp_path / "p.svg", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["wanted"]["devices"] == 1_000_000
    assert document["plan"]["workers"] >= 2
    assert set(document["measured"]) >= {"worker_readings_per_cpu_s", "wire_bytes"}
    assert document["simulated"]["failures"][0]["failed"] == 1
    assert "Simulated" in (tmp_path / "p.svg").read_text()


def test_what_was_not_measured_as_such_is_marked() -> None:
    done = gridwarden(*CITY)
    assert done.returncode == 0, done.stderr
    assert "SIMULATED" not in done.stdout
    assert re.search(r"store_server_cpu_s +\S+ ~ influx", done.stdout)


@pytest.mark.parametrize(
    ("more", "want"),
    [
        (("--busy", "0"), "busy"),
        (("--results", "/no/such/folder"), "no recorded benchmarks"),
        (("--picture", "/tmp/x.svg"), "add --simulate"),
        (("--simulate", "--picture", "/no/such/folder/x.svg"), "name a file"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(more: tuple[str, ...], want: str) -> None:
    done = gridwarden(*CITY, *more)
    assert done.returncode == 2
    assert want in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_pages_commands_are_real() -> None:
    text = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ gridwarden (capacity .*)$", text, re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        done = gridwarden(*re.sub(r"--picture \S+", "", line).split())
        assert done.returncode == 0, done.stderr
