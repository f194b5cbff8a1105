"""A missing tool or recording is a skip with an instruction, and in CI a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts.tools import ROOT

TESTS = """
import pytest

def test_needs_a_tool(require_tool):
    require_tool("mosquitto")

def test_needs_a_recording(recorded_data):
    pass

@pytest.mark.xfail(strict=True)
def test_fails_as_expected():
    assert False
"""
MODULE_THAT_SKIPS = "import pytest\npytest.importorskip('no_such_module_at_all')\n"


def run(folder: Path, *, ci: str) -> tuple[int, str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    env = {**os.environ, "CI": ci, "MOSQUITTO": "/no/mosquitto", "RECORDED_DATA": "/no/data"}
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-p", "tests.conftest", "--rootdir", str(folder), str(folder)],
        cwd=folder,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("ci", ["", "false"])
def test_a_person_is_told_what_to_install(tmp_path: Path, ci: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)

    status, told = run(tmp_path, ci=ci)

    assert status == 0, told
    assert "2 skipped, 1 xfailed" in told
    assert "apt-get install" in told
    assert "RECORDED_DATA" in told


def test_ci_fails_instead(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)

    status, told = run(tmp_path, ci="true")

    assert status == 1
    assert "xfailed" in told
    assert "skipped" not in told.splitlines()[-1]
    assert told.count("In CI nothing may be skipped") >= 2


def test_ci_fails_for_a_module_that_skips_itself(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(MODULE_THAT_SKIPS)

    status, told = run(tmp_path, ci="true")

    assert status not in (0, 5), told
    assert "In CI nothing may be skipped" in told
