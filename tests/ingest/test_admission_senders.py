"""Who may say what: gateways, strangers, foreign devices, and the state of gateways."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from contracts.batch import Flag
from contracts.log import LogRecord, RecordKind
from contracts.pack import Evicted
from tests.ingest.scene import BOOT, DAY, GRID, T0, Log, S, admission, reasons, told

NONE = Flag(0)
TOPIC = "grid/v1/340111/002/003/001/smoke/lone-1/tele"


def native(device: str = "lone-1", family: str = "smoke", **metrics: float) -> dict[str, object]:
    return {"deviceId": device, "family": family, "ts": T0, "metrics": metrics}


CASES = [
    pytest.param(
        lambda log: log.pack([("fw-2", "flow", T0, 1.0), ("sm-2", "fire", T0, 1.0)]),
        [
            ("sm-2", "fire", T0, 1.0, Flag.UNVERIFIED | Flag.UNREGISTERED),
            ("gw-a", "unverified_source", T0, 2.0, Flag.UNREGISTERED),
        ],
        ["wrong_gateway"],
        id="device-of-another-gateway",
    ),
    pytest.param(
        lambda log: log.pack([("sm-1", "fire", T0, 0.0), ("sm-1", "fire", T0, 1.0)], named="gw-b"),
        [
            ("sm-1", "fire", T0, 1.0, Flag.UNVERIFIED),
            ("gw-a", "unverified_source", T0, 2.0, Flag.UNREGISTERED),
        ],
        ["wrong_gateway"],
        id="pack-names-another-gateway",
    ),
    pytest.param(
        lambda log: log.pack([("new-1", "fire", T0, 1.0), ("new-1", "battery", T0, 3.0)]),
        [
            ("new-1", "fire", T0, 1.0, Flag.UNREGISTERED),
            ("new-1", "battery", T0, 3.0, Flag.UNREGISTERED),
        ],
        [],
        id="unknown-device",
    ),
    pytest.param(
        lambda log: log.pack([("sm-2", "fire", T0, 1.0)], gateway="gw-b"),
        [("sm-2", "fire", T0, 1.0, Flag.UNREGISTERED)],
        [],
        id="device-without-a-grid",
    ),
    pytest.param(
        lambda log: log.pack(
            [("fw-1", "flow", T0, 1.0), ("fw-1", "fire", T0, 1.0)], family="ebike"
        ),
        [("fw-1", "fire", T0, 1.0, Flag.UNVERIFIED)],
        ["bad_field"],
        id="wrong-family",
    ),
    pytest.param(
        lambda log: log.pack([("new-2", "fire", T0, 1.0)], family="volcano"),
        [],
        ["unknown_family"],
        id="unknown-family",
    ),
    pytest.param(
        lambda log: log.pack([("fw-1", "flux", T0, 1.0), ("fw-1", "flow", T0, 1.0)]),
        [("fw-1", "flow", T0, 1.0, NONE)],
        ["unknown_quantity"],
        id="unknown-quantity",
    ),
    pytest.param(
        lambda log: log.pack([("sm-! 1", "fire", T0, 1.0), ("fw-1", "flow", T0, 1.0)]),
        [("fw-1", "flow", T0, 1.0, NONE)],
        ["bad_field"],
        id="bad-device-id-beside-a-good-one",
    ),
    pytest.param(
        lambda log: log.pack(
            [("fw-1", "flow", T0, float("inf")), ("sm-1", "fire", T0, float("inf"))]
        ),
        [("sm-1", "fire", T0, 1.0, NONE)],
        ["non_finite"],
        id="infinite",
    ),
    pytest.param(
        lambda log: log.foreign(native(fire=1, battery=3.0), TOPIC),
        [("lone-1", "fire", T0, 1.0, NONE), ("lone-1", "battery", T0, 3.0, NONE)],
        [],
        id="foreign-device",
    ),
    pytest.param(
        lambda log: log.foreign(native("sm-1", fire=1, battery=3.0), TOPIC.replace("lone", "sm")),
        [("sm-1", "fire", T0, 1.0, Flag.UNVERIFIED)],
        ["wrong_gateway"],
        id="foreign-device-bound-to-a-gateway",
    ),
    pytest.param(
        lambda log: log.foreign(native("new-7", fire=1, battery=3.0), TOPIC),
        [("new-7", "fire", T0, 1.0, Flag.UNVERIFIED | Flag.UNREGISTERED)],
        ["bad_field"],
        id="topic-names-another-device",
    ),
    pytest.param(
        lambda log: log.foreign(native(fire=1, battery=3.0), TOPIC.replace("/smoke/", "/gas/")),
        [("lone-1", "fire", T0, 1.0, Flag.UNVERIFIED)],
        ["bad_field"],
        id="topic-names-another-family",
    ),
    pytest.param(
        lambda log: log.foreign(native(fire=1, battery=3.0), TOPIC.replace("003/001", "003/999")),
        [("lone-1", "fire", T0, 1.0, Flag.UNVERIFIED)],
        ["bad_grid"],
        id="topic-names-another-grid",
    ),
    pytest.param(
        lambda log: log.foreign(native(fire=1), "grid/v1/what"), [], ["bad_topic"], id="bad-topic"
    ),
    pytest.param(lambda log: log.foreign(b"{oops", TOPIC), [], ["bad_json"], id="bad-json"),
    pytest.param(
        lambda log: log.foreign([native(fire=1), native("sm-1", battery=3.0)]),
        [("lone-1", "fire", T0, 1.0, NONE), ("sm-1", "battery", T0, 3.0, NONE)],
        [],
        id="recording-speaks-for-the-bound-gateway",
    ),
    pytest.param(
        lambda log: log.foreign(
            [{"bn": "lone-1:", "n": "temperature", "u": "Cel", "v": 21}], TOPIC
        ),
        [("lone-1", "temperature", T0, 21.0, NONE)],
        [],
        id="senml",
    ),
    pytest.param(
        lambda log: log.foreign([{"n": "sm-1/temperature", "u": "Cel", "v": 21}], TOPIC),
        [],
        ["wrong_gateway"],
        id="senml-for-a-device-of-a-gateway",
    ),
    pytest.param(
        lambda log: log.foreign(native(fire=1) | {"ts": T0 + 10**7}, TOPIC),
        [("lone-1", "fire", T0, 1.0, Flag.CLOCK_UNKNOWN)],
        [],
        id="foreign-fire-in-the-future",
    ),
    pytest.param(
        lambda log: log.record(RecordKind.PACK, "no such/gateway", log.pack([]).payload),
        [],
        ["bad_topic"],
        id="bad-gateway-id",
    ),
]


@pytest.mark.parametrize(("record", "want", "refused"), CASES)
def test_sender(record, want, refused) -> None:
    admit = admission()

    admitted = admit.admit([record(Log())])

    assert told(admitted, admit._directory) == want
    assert reasons(admitted) == refused


def test_a_refused_row_is_kept_as_a_message_that_can_be_sent_again() -> None:
    admit = admission()
    rows = [("sm-1", "battery", T0, 3.0), ("fw-2", "flow", T0, 1.5)]
    admitted = admit.admit([Log().pack(rows, flags=int(Flag.STALE | Flag.TEST))])

    (reject,) = admitted.rejects
    assert (reject.position, reject.source, reject.reject.row) == (1, "gw-a", 1)
    assert msgspec.json.decode(reject.content) == {
        "deviceId": "fw-2",
        "family": "firewater",
        "ts": T0,
        "metrics": {"flow": 1.5},
        "quality": "stale",
        "test": True,
    }


def test_an_impostor_moves_nobodys_watermark_or_clock() -> None:
    admit, log = admission(), Log()
    admit.admit([log.pack([("fw-2", "flow", T0 - 9 * S, 1.0)], gateway="gw-b")])
    log.now += 10 * S
    admit.admit([log.pack([("sm-2", "fire", log.now, 1.0)], gateway="gw-a")])

    late = admit.admit([log.pack([("fw-2", "flow", T0 - 8 * S, 2.0)], gateway="gw-b")])

    assert told(late, admit._directory) == [("fw-2", "flow", T0 - 8 * S, 2.0, NONE)]


def online(records: list[LogRecord]) -> list[float]:
    """What is heard of the gateway's state when the records come 1 s apart."""
    records = [replace(r, accepted_ms=T0 + n * S) for n, r in enumerate(records)]
    admit = admission()
    rows = told(admit.admit(records), admit._directory)
    return [value for _, quantity, _, value, _ in rows if quantity == "online"]


def test_a_will_of_an_older_connection_takes_nobody_offline() -> None:
    log = Log()
    births = [log.status(connection=1), log.status(connection=2, wall=T0 + S, mono=DAY + S)]
    assert online([*births, log.status("offline", connection=1)]) == [1.0, 1.0]
    assert online([*births, log.status("offline", connection=2)]) == [1.0, 1.0, 0.0]
    again = log.status("offline", connection=2)
    assert online([*births, again, again]) == [1.0, 1.0, 0.0]


def test_a_heartbeat_sent_again_from_an_older_connection_changes_nothing() -> None:
    log = Log()
    births = [log.status(connection=1), log.status(connection=2, wall=T0 + S, mono=DAY + S)]
    again = log.status("heartbeat", connection=1)
    assert online([*births, again, log.status("offline", connection=2)]) == [1.0, 1.0, 0.0]


def test_a_will_of_an_older_boot_takes_nobody_offline() -> None:
    log = Log()
    old = log.status(boot=BOOT, connection=9)
    new = log.status(boot=9 << 32, connection=1, mono=10, wall=T0 + S)
    assert online([old, new, log.status("offline", boot=BOOT, connection=9)]) == [1.0, 1.0]


def test_a_status_is_told_as_readings_of_the_gateway() -> None:
    admit, log = admission(), Log()
    record = log.status(wall=T0 + 5000, outbox_bytes=50, outbox_limit=200, disk_full=True)
    rows = told(admit.admit([record]), admit._directory)
    flags = Flag.REPAIRED | Flag.UNREGISTERED
    assert rows == [
        ("gw-a", "online", T0, 1.0, flags),
        ("gw-a", "outbox_fill", T0, 0.25, flags),
        ("gw-a", "disk_full", T0, 1.0, flags),
        ("gw-a", "clock_skew", T0, 5000.0, flags),
    ]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"", "bad_json", id="empty"),
        pytest.param(b'{"type": "birth"}', "bad_json", id="incomplete"),
        pytest.param(Log().status(gateway="gw-b").payload, "wrong_gateway", id="other-gateway"),
        pytest.param(Log().status(outbox_bytes=10**400).payload, "bad_field", id="huge-number"),
    ],
)
def test_a_bad_status_is_refused_whole(payload: bytes, reason: str) -> None:
    admitted = admission().admit([Log().record(RecordKind.STATUS, "gw-a", payload)])
    assert reasons(admitted) == [reason]
    assert admitted.rejects[0].content == payload


def test_a_tombstone_is_an_alarm_of_the_gateway() -> None:
    admit, log = admission(), Log()
    record = log.pack([], evicted=(Evicted(BOOT, 3, 7, T0, T0 + 1, 2500),))
    admitted = admit.admit([log.status(), record])
    assert told(admitted, admit._directory)[-1][1:4] == ("packs_evicted", T0, 5.0)
    assert int(admitted.batch.flags[-1]) & Flag.ALARM


def test_the_grid_of_the_scene_is_the_grid_of_the_topic() -> None:
    assert TOPIC.startswith(f"grid/v1/{GRID[:6]}/{GRID[6:9]}/{GRID[9:12]}/{GRID[12:]}/")
