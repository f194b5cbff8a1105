"""Fixtures that every room's tests may use, and the rule that CI skips nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.mosquitto import Mosquitto
from tests.parts.tools import ROOT, MissingTool, find_tool, in_ci


@pytest.fixture
def require_tool() -> Callable[[str], str]:
    """Call it with a program's name: gives its path; missing = skip, in CI a failure."""

    def require(name: str) -> str:
        try:
            return find_tool(name)
        except MissingTool as missing:
            pytest.skip(str(missing))

    return require


@pytest.fixture
def mosquitto(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[Mosquitto]:
    """A running Mosquitto whose store survives kill -9; see `tests.parts.mosquitto`."""
    require_tool("mosquitto")
    with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded data: RECORDED_DATA, or `../shared/data` beside the checkout."""
    named = os.environ.get("RECORDED_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no recorded data at {folder}; set RECORDED_DATA to its folder")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: Any) -> None:
    """In CI a skip is a test that nobody ran, so it fails. Expected failures stay as they are."""
    if not in_ci() or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"In CI nothing may be skipped. {why}"
