"""What goes first when the disk runs short, and what never goes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import retention as module
from ingest.log import SqliteLog
from ingest.quarantine import Quarantine
from ingest.retention import Action, Ballast, Facts, Limits, Retention, decide
from tests.ingest.packs import T0, record

MB = 1 << 20
LIMITS = Limits(log_bytes=1000 * MB, min_free_bytes=100 * MB, ballast_bytes=10 * MB)
HOUR = 3_600_000


def facts(**changed: object) -> Facts:
    normal: dict[str, object] = {
        "free": 500 * MB,
        "log": 300 * MB,
        "sheddable": ((50 * MB, T0 - 3 * HOUR), (50 * MB, T0 - 2 * HOUR), (50 * MB, T0 - HOUR)),
        "telemetry": 30 * MB,
        "letters": 20 * MB,
        "ballast_held": 10 * MB,
    }
    return Facts(**{**normal, **changed})  # type: ignore[arg-type]


CASES = [
    pytest.param({}, [], id="enough-room"),
    pytest.param({"ballast_held": 0}, [("reserve", "ballast", 10)], id="reserve"),
    pytest.param({"free": 60 * MB}, [("shed", "log", 50)], id="raw-history-first"),
    pytest.param(
        {"free": 60 * MB, "sheddable": ()},
        [("shed", "telemetry", 30), ("shed", "letters", 10)],
        id="then-telemetry-then-letters",
    ),
    pytest.param(
        {"free": 0, "sheddable": ((50 * MB, T0),), "letters": 10 * MB},
        [
            ("shed", "log", 50),
            ("shed", "telemetry", 30),
            ("shed", "letters", 10),
            ("release", "ballast", 10),
        ],
        id="the-reserve-last",
    ),
    pytest.param({"free": 0}, [("shed", "log", 100)], id="only-what-is-needed"),
    pytest.param({"log": 1060 * MB}, [("shed", "log", 100)], id="bound-on-raw-history"),
    pytest.param(
        {"free": 11 * MB, "sheddable": (), "telemetry": 0, "letters": 0},
        [],
        id="the-reserve-stays-while-there-is-room",
    ),
    pytest.param(
        {"free": 15 * MB, "ballast_held": 0, "sheddable": (), "telemetry": 0, "letters": 0},
        [],
        id="no-flapping",
    ),
]


@pytest.mark.parametrize(("changed", "wanted"), CASES)
def test_decisions(changed: dict[str, object], wanted: list[tuple[str, str, int]]) -> None:
    got = decide(facts(**changed), LIMITS, T0)
    assert [(a.what, a.target, a.bytes // MB) for a in got] == wanted


def test_age_sheds_raw_history() -> None:
    limits = Limits(log_keep_ms=90 * 60_000, min_free_bytes=0, ballast_bytes=0)
    assert decide(facts(), limits, T0) == [Action("shed", "log", 100 * MB)]


def test_small_limits_have_a_small_reserve() -> None:
    assert Limits(log_bytes=160 * MB).ballast == 10 * MB
    assert Limits().ballast == 64 * MB


SIZES = st.integers(0, 200)


@given(SIZES, SIZES, st.lists(SIZES, max_size=4), SIZES, SIZES, st.sampled_from([0, 10]))
def test_no_later_store_is_touched_before_the_earlier_ones_are_used_up(
    free: int, log: int, segments: list[int], telemetry: int, letters: int, held: int
) -> None:
    found = facts(
        free=free * MB,
        log=log * MB,
        sheddable=tuple((size * MB, T0) for size in segments),
        telemetry=telemetry * MB,
        letters=letters * MB,
        ballast_held=held * MB,
    )
    shed = {a.target: a.bytes for a in decide(found, LIMITS, T0) if a.what != "reserve"}
    order = ["log", "telemetry", "letters", "ballast"]
    has = {"log": sum(segments) * MB, "telemetry": telemetry * MB, "letters": letters * MB}
    for earlier, later in itertools.combinations(order, 2):
        if later in shed:
            assert shed.get(earlier, 0) == has.get(earlier, 0)
    assert all(size <= has.get(target, held * MB) for target, size in shed.items())


def test_the_ballast_is_real_and_goes_at_once(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast")
    assert ballast.held() == 0
    assert ballast.reserve(3 * MB)
    assert ballast.path.stat().st_blocks * 512 >= 3 * MB
    assert ballast.held() == 3 * MB
    assert ballast.release() == 3 * MB
    assert ballast.held() == 0
    assert not Ballast(tmp_path / "big").reserve(1 << 55)
    assert list(tmp_path.iterdir()) == []


def test_it_acts_on_real_stores_and_keeps_what_a_restart_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(tmp_path / "log", segment_bytes=50_000)
    for n in range(20):
        log.append([record(n + 1, rows=1000)])
    letters = Quarantine(tmp_path / "q.db")
    retention = Retention(
        tmp_path,
        Limits(log_bytes=1 << 40, min_free_bytes=500_000, ballast_bytes=50_000),
        log=log,
        telemetry=None,
        letters=letters,
        needed_from=lambda: log.needed_from,
    )
    free = [10**9]
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("U", (), {"free": free[0]}))
    assert retention.starved
    assert [a.what for a in retention.run(T0)] == ["reserve"]
    assert not retention.starved

    free[0] = 450_000
    assert retention.run(T0) == []  # Nothing is snapshotted, so a restart needs it all.
    log.save_snapshot(15, {"a": b""})
    log.save_snapshot(20, {"a": b""})
    before = log.bytes()
    [action] = retention.run(T0)
    assert (action.what, action.target) == ("shed", "log")
    assert before - log.bytes() == retention.shed_bytes["log"] >= 50_000
    free[0] = 0
    assert {a.target for _ in range(9) for a in retention.run(T0)} == {"log", "ballast"}
    assert retention.starved
    assert log.sheddable(log.needed_from) == ()
    assert log.first_position <= 16
    assert [r.position for part in log.read(16) for r in part] == [16, 17, 18, 19, 20]
    assert not retention.failed
    letters.close()
    log.close()
