"""The server itself stops for hours, or a gateway does: who falls meanwhile is told of afterwards,
and nobody else is. Simulated homes, the detector as the log feeds it."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

import msgspec
import numpy as np
import pytest

from app.models import load_inactivity
from app.runners.quiet_homes import QuietHomes
from contracts.alert_data import ModelRef
from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.messages import GatewayStatus
from contracts.quantities import QUANTITY_INDEX
from contracts.registry import Registry
from detectors.inactivity.layout import Kind
from detectors.training.homes import START_MS, SimulatedHome, simulate_home
from ingest.registry import load as load_registry
from rules.zones import zone
from tests.detectors.inactivity.lives import DAY, HOUR, KIT, MINUTE, REGULAR

HOMES, DAYS = 3, 8
STOPS = START_MS + 4 * DAY + 10 * HOUR
"""When the server stops: ten in the morning of the fifth day."""
NAMES = {Kind.MOTION: "motion", Kind.CONTACT: "contact", Kind.HEARTBEAT: "online"}


@pytest.fixture(scope="module")
def homes() -> list[SimulatedHome]:
    return [
        simulate_home(f"home-{n}", seed=n, days=DAYS, sensors=KIT, habits=REGULAR, faults=False)
        for n in range(HOMES)
    ]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("registry")
    lines = ["device,family,gateway,grid,home,room,role"]
    for n in range(HOMES):
        lines.append(f"home-{n},elderly,detector-inactivity,340199009001001,,,")
        for name, kind, room, role in KIT:
            given = "front_door" if role == 1 else "room"
            lines.append(
                f"home-{n}-{name},elderly,gw-{n},340199009001001,home-{n},{room.name.lower()},{given}"
            )
            assert kind in NAMES
    (folder / "devices.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "areas.csv").write_text(
        "code,level,name\n340199,district,D\n340199009,street,S\n340199009001,community,C\n",
        encoding="utf-8",
    )
    (folder / "grids.csv").write_text(
        "code,name,kind,valid_from,valid_to,state,reason\n"
        "340199009001001,G,residential,2000-01-01,,valid,\n",
        encoding="utf-8",
    )
    return load_registry(folder)


class Live:
    """A detector that hears homes minute by minute."""

    def __init__(self, registry: Registry, homes: list[SimulatedHome]) -> None:
        infer, prior, _ = load_inactivity()
        info = zone("Asia/Shanghai").info
        self.directory = DeviceDirectory(registry)
        self.detector = QuietHomes(
            infer, prior, ModelRef(detector="inactivity", hash="model"), info
        )
        self.detector.settle(self.directory)
        row = {name: n for n, name in enumerate(registry.devices.ids)}
        parts = []
        for home in homes:
            sensors = [f"{home.name}-{name}" for name, *_ in home.sensors]
            device = np.array([row[name] for name in sensors], np.int32)
            quantity = np.array([QUANTITY_INDEX[NAMES[k]] for _, k, *_ in home.sensors], np.int16)
            who = np.full(len(home.ts_ms), int(home.name[-1]))
            parts.append((device[home.sensor], quantity[home.sensor], home.ts_ms, home.value, who))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[2], kind="stable")
        self.device, self.quantity, self.ts, self.value, self.who = (c[order] for c in columns)
        self.told: dict[str, list[tuple[str, int, float]]] = defaultdict(list)

    def keep(self, use: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        self.device, self.quantity, self.ts, self.value, self.who = (
            c[use] for c in (self.device, self.quantity, self.ts, self.value, self.who)
        )

    @property
    def shows_person(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.asarray(self.quantity != QUANTITY_INDEX["online"])

    def hear(self, from_ms: int, to_ms: int) -> None:
        """Rows of a time, whenever it is now."""
        use = (self.ts > from_ms) & (self.ts <= to_ms)
        count = int(use.sum())
        longs, shorts = np.zeros(count, np.int64), np.zeros(count, np.int32)
        batch = TaggedBatch(
            self.device[use], self.quantity[use], self.ts[use], self.value[use],
            np.zeros(count, np.uint16), longs, longs, shorts, longs,
        )  # fmt: skip
        if count:
            self.detector.on_rows(batch)

    def live(self, from_ms: int, to_ms: int) -> None:
        for at in range(from_ms, to_ms, MINUTE):
            self.hear(at, at + MINUTE)
            self.mark(at + MINUTE + 2_000)

    def at_home(self, home: int, from_ms: int) -> int:
        """The first time from then on at which somebody moves inside, and has and will."""
        mine = (self.who == home) & self.shows_person & (self.ts >= from_ms - HOUR)
        inside = self.quantity[mine] == QUANTITY_INDEX["motion"]
        ts = self.ts[mine]
        for at in ts[inside & (ts >= from_ms)].tolist():
            hour = (ts >= at - HOUR / 6) & (ts < at + HOUR)
            if inside[hour].all() and hour.sum() > 5:
                return int(at)
        raise AssertionError("nobody is at home")

    def mark(self, at_ms: int) -> None:
        for batch in self.detector.on_mark(at_ms):
            for device, _, quantity, ts, value, _ in batch.rows():
                self.told[device].append((quantity, ts, value))

    def asked_after(self) -> set[str]:
        return {
            home
            for home, said in self.told.items()
            if any(quantity == "home.gone" and value >= 1440 for quantity, _, value in said)
        }

    def called(self, since_ms: int) -> dict[str, int]:
        """Home -> when its silence was first one in 30 days, or a day long."""
        found: dict[str, int] = {}
        for home, said in self.told.items():
            for quantity, ts, value in said:
                rare = quantity == "inactivity.per_30d" and value <= 1
                if ts > since_ms and (rare or (quantity == "inactivity.minutes" and value >= 1440)):
                    found.setdefault(home, ts)
        return found


@pytest.fixture
def live(registry: Registry, homes: list[SimulatedHome], known: bytes) -> Live:
    found = Live(registry, homes)
    found.detector.restore(known)
    return found


@pytest.fixture(scope="module")
def known(registry: Registry, homes: list[SimulatedHome]) -> bytes:
    """What the detector knows when the server stops."""
    learnt = Live(registry, homes)
    learnt.live(START_MS, STOPS)
    return learnt.detector.snapshot()


def test_a_server_that_was_away_for_more_than_a_day_asks_after_nobody(live: Live) -> None:
    back = STOPS + 30 * HOUR
    # The first minutes nobody is heard yet; then gateways send what they kept.
    for minute in range(4):
        live.mark(back + minute * MINUTE)
    live.hear(STOPS, back + 4 * MINUTE)
    live.live(back + 4 * MINUTE, back + 8 * HOUR)
    assert live.told
    assert live.asked_after() == set()
    assert live.called(STOPS) == {}


def test_who_falls_while_the_server_is_away_is_told_of_and_nobody_else(live: Live) -> None:
    fallen, back = live.at_home(1, STOPS + 30 * MINUTE), STOPS + 5 * HOUR
    assert fallen < back
    live.keep(~((live.who == 1) & live.shows_person & (live.ts > fallen)))
    live.mark(back)
    live.hear(STOPS, back)
    live.live(back, back + 24 * HOUR)
    called = live.called(STOPS)
    assert list(called) == ["home-1"]
    # By surprise, before the ceiling: some 19 h after the fall, with most of the day unseen.
    assert called["home-1"] - fallen <= 20 * HOUR
    assert live.asked_after() == set()


def test_a_gateway_that_was_away_for_most_of_a_day_and_sends_it_all_rings_nothing(
    live: Live,
) -> None:
    back = STOPS + 23 * HOUR
    rows = live.device, live.quantity, live.ts, live.value, live.who
    live.keep((live.who != 1) | (live.ts <= STOPS) | (live.ts > back))
    status = partial(status_of, "gw-1")
    live.detector.on_record(status("offline", STOPS))
    live.live(STOPS, back)
    assert live.told["home-1"][-1][0] == "home.gone"
    live.detector.on_record(status("birth", back))
    live.device, live.quantity, live.ts, live.value, live.who = rows
    live.keep((live.who == 1) | (live.ts > back))
    live.hear(STOPS, back)
    live.live(back, back + 6 * HOUR)
    assert live.asked_after() == set()
    assert "home-1" not in live.called(STOPS)


def status_of(gateway: str, what: str, at_ms: int) -> LogRecord:
    told = GatewayStatus(
        type=what,  # type: ignore[arg-type]
        gateway=gateway,
        boot="0000000000000001",
        wall_ms=at_ms,
        mono_ms=at_ms,
    )
    return LogRecord(RecordKind.STATUS, at_ms, gateway, msgspec.json.encode(told), 1)
