"""What a gateway's clock may do, and what becomes of its readings."""

from __future__ import annotations

import pytest

from contracts.batch import Flag
from contracts.log import LogRecord
from ingest.clock import ClockGuard, ClockSample
from ingest.limits import AdmissionSettings
from tests.ingest.scene import DAY, T0, Log, S, about_devices, admission, reasons, told

NONE, REPAIRED = Flag(0), Flag.REPAIRED
UNKNOWN = Flag.CLOCK_UNKNOWN
Y2099 = 4_070_908_800_000
HOUR = 3600 * S


def right_clock(log: Log) -> list[LogRecord]:
    return [log.status(), log.pack([("fw-1", "flow", T0 - 100, 1.0)])]


def within_tolerance(log: Log) -> list[LogRecord]:
    return [
        log.status(wall=T0 + 1900),
        log.pack([("fw-1", "flow", T0 + 1800, 1.0)], wall=T0 + 1900),
    ]


def epoch_at_boot(log: Log) -> list[LogRecord]:
    return [
        log.status(wall=5000, mono=5000),
        log.pack([("fw-1", "flow", 4000, 1.0), ("sm-1", "fire", 4500, 1.0)], wall=5000, mono=5000),
    ]


def epoch_then_ntp(log: Log) -> list[LogRecord]:
    records = [log.status(wall=5000, mono=5000)]
    log.now += 10 * S
    rows = [("fw-1", "flow", 14_000, 1.0), ("fw-1", "flow", log.now - 500, 2.0)]
    return [*records, log.pack(rows, wall=log.now, mono=15_000)]


def future_clock(log: Log) -> list[LogRecord]:
    return [log.status(wall=Y2099), log.pack([("fw-1", "flow", Y2099 - 300, 1.0)], wall=Y2099)]


def slow_drift(log: Log) -> list[LogRecord]:
    """An hour's wall clock that loses 1 s in 20 minutes: from 2 s on it is repaired."""
    records = [log.status()]
    for minute in (20, 40, 60):
        log.now = T0 + minute * 60 * S
        wall = log.now - minute * 50
        records.append(log.pack([("fw-1", "flow", wall - 10, float(minute))], wall=wall))
    return records


def drifting_monotonic_clock(log: Log) -> list[LogRecord]:
    """20 ppm over a week with a right wall clock: nothing to repair."""
    records = [log.status()]
    for hour in range(1, 169):
        log.now = T0 + hour * HOUR
        mono = DAY + hour * HOUR - hour * HOUR // 50_000
        records.append(log.status("heartbeat", mono=mono))
    return [*records, log.pack([("fw-1", "flow", log.now, 1.0)], mono=mono)]


def held_back_a_day(log: Log) -> list[LogRecord]:
    records = [log.status(wall=T0 - HOUR)]
    log.now = T0 + 20 * S
    records.append(log.status("heartbeat", wall=log.now - HOUR))
    log.now = T0 + DAY
    made = T0 + 60 * S
    row = ("fw-1", "flow", made - HOUR - 100, 1.0)
    again = log.status(wall=log.now - HOUR, connection=1)
    return [*records, again, log.pack([row], wall=made - HOUR, mono=made - T0 + DAY)]


def held_back_by_an_unheard_boot(log: Log) -> list[LogRecord]:
    made = T0 - DAY
    row = ("fw-1", "flow", made - 100, 1.0)
    return [
        log.pack([row], wall=made, mono=500 * S),
        log.pack([(*row[:2], made, 2.0)], wall=made, mono=500 * S),
    ]


def backlog_of_a_broker(log: Log) -> list[LogRecord]:
    """The server was down for 5 h: even the birth is old, and all comes at once."""
    began = T0 - 5 * HOUR
    records = [log.status(wall=began, mono=100)]
    for second in range(1, 60):
        made = began + second * S
        row = ("fw-1", "flow", made - 10, float(second))
        records.append(log.pack([row], wall=made, mono=100 + second * S))
        log.now += 5
    return records


def unheard_boot_without_clock(log: Log) -> list[LogRecord]:
    rows = [("fw-1", "flow", 4000, 1.0), ("sm-1", "fire", 4500, 1.0), ("sm-1", "fire", 4600, 0.0)]
    return [log.pack(rows, boot=7 << 32, wall=5000, mono=5000)]


def unheard_boot_in_2099(log: Log) -> list[LogRecord]:
    rows = [("fw-1", "flow", Y2099, 1.0), ("sm-1", "fire", Y2099, 1.0)]
    return [log.pack(rows, boot=7 << 32, wall=Y2099, mono=5000)]


def reboot_with_lost_clock(log: Log) -> list[LogRecord]:
    records = [log.status(), log.pack([("fw-1", "flow", T0, 1.0)])]
    log.now += 60 * S
    boot = 2 << 32
    records.append(log.status(boot=boot, wall=1000, mono=1000))
    return [*records, log.pack([("fw-1", "flow", 900, 2.0)], boot=boot, wall=1000, mono=1000)]


def one_device_in_2099(log: Log) -> list[LogRecord]:
    rows = [("fw-1", "flow", Y2099, 1.0), ("sm-1", "fire", Y2099, 1.0), ("fw-1", "flow", T0, 2.0)]
    return [log.status(), log.pack(rows)]


def a_paused_machine(log: Log) -> list[LogRecord]:
    """The monotonic clock stood still for an hour; the wall clock is right."""
    records = [log.status()]
    for second in range(0, 14, 2):
        log.now = T0 + HOUR + second * S
        records.append(log.status("heartbeat", mono=DAY + second * S))
    return [*records, log.pack([("fw-1", "flow", log.now - 50, 1.0)], mono=DAY + 12 * S)]


CASES = [
    pytest.param(right_clock, [("flow", T0 - 100, NONE)], [], id="right"),
    pytest.param(within_tolerance, [("flow", T0 + 1800, NONE)], [], id="within-tolerance"),
    pytest.param(
        epoch_at_boot,
        [("flow", T0 - 1000, REPAIRED), ("fire", T0 - 500, REPAIRED)],
        [],
        id="1970-at-boot",
    ),
    pytest.param(
        epoch_then_ntp,
        [("flow", T0 + 9000, REPAIRED), ("flow", T0 + 9500, NONE)],
        [],
        id="1970-then-ntp-in-one-pack",
    ),
    pytest.param(future_clock, [("flow", T0 - 300, REPAIRED)], [], id="2099"),
    pytest.param(
        slow_drift,
        [
            ("flow", T0 + 1200 * S - 1010, NONE),
            ("flow", T0 + 2400 * S - 2010, NONE),
            ("flow", T0 + 3600 * S - 10, REPAIRED),
        ],
        [],
        id="wall-clock-drifts-past-the-tolerance",
    ),
    pytest.param(
        drifting_monotonic_clock,
        [("flow", T0 + 168 * HOUR, NONE)],
        [],
        id="monotonic-clock-drifts",
    ),
    pytest.param(
        held_back_a_day, [("flow", T0 + 60 * S - 100, REPAIRED)], [], id="held-back-a-day"
    ),
    pytest.param(
        held_back_by_an_unheard_boot,
        [("flow", T0 - DAY - 100, NONE), ("flow", T0 - DAY, NONE)],
        [],
        id="unheard-boot-with-a-plausible-clock",
    ),
    pytest.param(
        backlog_of_a_broker,
        [("flow", T0 - 5 * HOUR + n * S - 10, NONE) for n in range(1, 60)],
        [],
        id="backlog-of-a-broker-keeps-its-times",
    ),
    pytest.param(
        unheard_boot_without_clock,
        [("fire", T0, UNKNOWN)],
        ["implausible_timestamp", "implausible_timestamp"],
        id="unheard-boot-without-a-clock",
    ),
    pytest.param(
        unheard_boot_in_2099,
        [("fire", T0, UNKNOWN)],
        ["future_timestamp"],
        id="unheard-boot-in-2099",
    ),
    pytest.param(
        reboot_with_lost_clock,
        [("flow", T0, NONE), ("flow", T0 + 60 * S - 100, REPAIRED)],
        [],
        id="reboot-with-lost-clock",
    ),
    pytest.param(
        one_device_in_2099,
        [("fire", T0, REPAIRED), ("flow", T0, NONE)],
        ["future_timestamp"],
        id="one-device-in-2099",
    ),
    pytest.param(
        a_paused_machine, [("flow", T0 + HOUR + 12 * S - 50, NONE)], [], id="paused-machine"
    ),
]


@pytest.mark.parametrize(("records", "want", "refused"), CASES)
def test_clock(records, want, refused) -> None:
    admit = admission()

    admitted = admit.admit(records(Log()))

    rows = about_devices(told(admitted, admit._directory))
    assert [(quantity, ts, flags) for _, quantity, ts, _, flags in rows] == want
    assert reasons(admitted) == refused


def test_a_clock_fault_is_told_as_a_reading_of_the_gateway() -> None:
    admit = admission()
    admitted = admit.admit(one_device_in_2099(Log()))

    skews = [row for row in told(admitted, admit._directory) if row[1] == "clock_skew"]

    assert [(row[0], row[3]) for row in skews] == [("gw-a", 0.0), ("gw-a", float(Y2099 - T0))]


def test_a_time_in_2099_stalls_nobody() -> None:
    admit, log = admission(), Log()
    admit.admit(one_device_in_2099(log))
    log.now += 100
    later = admit.admit([log.pack([("fw-1", "flow", log.now, 3.0)])])
    log.now += 5 * S
    released, _ = admit.mark(log.mark())

    assert [row[4] for row in told(later, admit._directory)] == [NONE]
    flows = [row[3] for row in told(released, admit._directory) if row[1] == "flow"]
    assert flows == [2.0, 3.0]


@pytest.mark.parametrize("wall", [-(2**63), 2**63 - 1, 0])
@pytest.mark.parametrize("mono", [-(2**63), 2**63 - 1, -1])
def test_extreme_clocks_refuse_readings_and_pass_fire(wall: int, mono: int) -> None:
    admit, log = admission(), Log()
    rows = [("fw-1", "flow", wall, 1.0), ("sm-1", "fire", wall, 1.0)]

    admitted = admit.admit([log.pack(rows, wall=wall, mono=mono)])

    fires = [row for row in told(admitted, admit._directory) if row[1] == "fire"]
    assert fires == [("sm-1", "fire", T0, 1.0, UNKNOWN)]
    assert len(admitted.rejects) == 1


def test_an_estimate_that_falls_is_no_longer_settled() -> None:
    """A backlog in two lumps, the wall clock right: the second lump's times stay as they are."""
    guard = ClockGuard(AdmissionSettings())
    timings = []
    for mono, delay in ((0, 2 * HOUR), (12 * S, 2 * HOUR), (24 * S, HOUR // 2)):
        sample = ClockSample(T0 + mono, mono, T0 + mono + delay)
        timings.append(guard.observe(0, 1, sample))

    assert timings[-1].shift_ms == 0
    assert timings[-1].true_ms == T0 + 24 * S


def test_only_the_last_boots_of_a_gateway_are_remembered() -> None:
    guard = ClockGuard(AdmissionSettings(clock_boots=2))
    for boot in range(10):
        guard.observe(0, boot, ClockSample(T0, 5, T0, live=True))
    ((_, boots),) = guard.state()
    assert [boot for boot, _ in boots] == [8, 9]
