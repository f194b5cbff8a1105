"""Fixtures that every room's tests may use, and the rule that CI skips nothing."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.parts.kafka import Kafka, java_and_jars, named_bootstrap
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
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running Kafka that all tests share: `KAFKA_BOOTSTRAP`, or one of our own.
    Use `topic_prefix`; a test that kills brokers takes `killable_kafka`."""
    if named_bootstrap():
        _must_answer(named_bootstrap())
        yield named_bootstrap()
        return
    _require_kafka()
    with Kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def _modules_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    _require_kafka()
    with Kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def killable_kafka(_modules_kafka: Kafka) -> Kafka:
    """A Kafka of one node that a test may kill and start again; it runs when a test begins, and
    the tests of a module share it, one after the other."""
    return _modules_kafka.start()


@pytest.fixture
def three_kafkas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A Kafka of three nodes that a test may kill one by one."""
    _require_kafka()
    with Kafka(tmp_path_factory.mktemp("kafkas"), nodes=3) as brokers:
        yield brokers


@pytest.fixture
def topic_prefix() -> str:
    """Of topics and groups that no other test and no other run uses."""
    return f"t{uuid.uuid4().hex[:12]}."


def _must_answer(bootstrap: str) -> None:
    for one in bootstrap.split(","):
        host, _, port = one.strip().rpartition(":")
        with suppress(OSError, ValueError), socket.create_connection((host, int(port)), 5):
            return
    pytest.fail(f"KAFKA_BOOTSTRAP={bootstrap}: nobody answers there; start it, or unset it")


def _require_kafka() -> None:
    try:
        java_and_jars()
    except MissingTool as missing:
        pytest.skip(str(missing))


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
