"""Rule tests are what replay makes of the same readings, byte for byte; and their faults."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from app.content import shipped_rules
from app.runners.recording import open_recording
from app.runners.replay import replay
from app.runners.rulesuite import Result, Suite, load_suite, run_suite
from app.runners.ruletest import play
from app.runners.ruletest_dump import keep
from contracts.alerts import NOT_COMPARED, AlertEvent, encode_event
from contracts.batch import Flag
from contracts.log import RecordKind
from contracts.pack import decode_raw
from ingest.registry import load as load_registry
from rules import RulesInvalid
from rules.testing.case import Case
from rules.testing.traffic import registry_files, traffic

RULES = """\
rules:
  - id: firewater.pressure_low
    title: {zh: 压力低, en: Pressure low}
    on: {family: firewater}
    when: static_pressure < 0.07 MPa
    for: 60s
    clear_for: 30s
    severity: 2
    missing: unknown after 5m
  - id: firewater.fire
    title: {zh: 火, en: Fire}
    on: {family: firewater}
    when: fire != 0
    severity: 1
    class: safety
    latched: true
"""
HEAD = """\
devices:
  h1: {family: firewater}
tests:
  - name: one
    rule: firewater.pressure_low
"""


def suite_of(folder: Path, test: str) -> Suite:
    (folder / "a.yml").write_text(RULES)
    body = dedent(test).replace("\n", "\n    ").strip()
    (folder / "a.test.yml").write_text(f"{HEAD}    {body}\n")
    return load_suite(folder)


def run(folder: Path, test: str) -> Result:
    (result,) = run_suite(suite_of(folder, test), lambda *_: None)
    return result


LONGEST_MS = 30 * 60_000
"""Of shipped tests that are played again here: a second of theirs is a mark."""


def compared(event: AlertEvent) -> bytes:
    return encode_event(msgspec.structs.replace(event, **dict.fromkeys(NOT_COMPARED, "")))


@pytest.fixture(scope="module")
def shipped() -> Suite:
    return load_suite(shipped_rules())


def chosen(suite: Suite) -> list[Case]:
    """The shipped tests with faults, and a few others."""
    short = [case for case in suite.cases if case.until_ms <= LONGEST_MS]
    return [case for i, case in enumerate(short) if case.faults or i % 9 == 0]


def test_replay_of_the_same_log_gives_the_same_bytes(shipped: Suite, tmp_path: Path) -> None:
    for case in chosen(shipped):
        played = play(case, shipped.ruleset, shipped.registries.of(case))
        dump = keep(tmp_path, shipped.folder, case, played)
        replayed: list[bytes] = []

        replay(
            open_recording(dump),
            ruleset=None,
            registry=None,
            settings=None,
            on_step=lambda step, to=replayed: to.extend(map(compared, step.events)),
        )

        assert replayed == [compared(event) for event in played.events], case.name


def test_marks_that_are_left_out_change_nothing(shipped: Suite) -> None:
    for case in chosen(shipped):
        if case.commands:
            continue  # They are named by their place in the log, which marks move.
        registry = shipped.registries.of(case)
        sparse = play(case, shipped.ruleset, registry)
        whole = play(case, shipped.ruleset, registry, every_mark=True)
        assert len(whole.records) > len(sparse.records)
        assert [compared(e) for e in whole.events] == [compared(e) for e in sparse.events]
        assert [c.known_ms for c in whole.came] == [c.known_ms for c in sparse.came]


def test_what_rings_unexpected_fails_and_nearest_is_named(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        series:
          - static_pressure: 0.12x5 0.05x10 0.12x5
        expect:
          - {at: 2m10s, is: raised}
        """,
    )
    said = "\n".join(result.problems)
    assert "expected (line 9): at 2m10s firewater.pressure_low of h1 is raised" in said
    assert "it differs in: at 2m and not 2m10s" in said
    assert "not expected: at 3m20s firewater.pressure_low of h1 is cleared" in said


def test_why_nothing_rang(tmp_path: Path) -> None:
    test = """
        series:
          - static_pressure: 0.12x5 {values} 0.12x9
        expect:
          - {{at: 2m, is: raised}}
        """
    short = "\n".join(run(tmp_path, test.format(values="0.05x4")).problems)
    assert "static_pressure < 0.07 MPa held at most 50s, from 1m to 1m50s; for: 1m" in short
    never = "\n".join(run(tmp_path, test.format(values="0.08x9")).problems)
    assert "never held: static_pressure was 0.08 to 0.12" in never


def test_nothing_may_ring_when_nothing_is_listed(tmp_path: Path) -> None:
    result = run(tmp_path, "series: [{static_pressure: 0.05x20}]\nexpect: []")
    assert not result.passed
    assert run(tmp_path, "series: [{static_pressure: 0.12x20}]\nexpect: []").passed


def test_commands_end_a_latched_alert(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        series:
          - fire: 0 1 0x5
        commands:
          - {at: 30s, acknowledge: firewater.fire}
          - {at: 40s, reset: firewater.fire}
        expect:
          - {at: 10s, rule: firewater.fire, is: raised, class: safety}
          - {at: 20s, rule: firewater.fire, is: latched, acknowledged: false}
          - {at: 40s, rule: firewater.fire, is: reset, acknowledged: true, by: test}
        """,
    )
    assert result.problems == ()


def test_a_command_without_an_alert_and_a_fault_without_a_reading_fail(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        series: [{static_pressure: 0.12x5}]
        faults: [{drop: h1 10m..11m}]
        commands: [{at: 30s, reset: firewater.fire}]
        expect: []
        """,
    )
    assert "the fault 'drop: h1 10m..11m' met nothing" in result.problems[0]
    assert "reset firewater.fire of h1 at 30s: there is no such alert" in result.problems[1]


def test_an_unknown_rule_is_a_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid) as refused:
        run(tmp_path, "series: [{fire: 1}]\nexpect: [{at: 0s, rule: firewater.fier, is: raised}]")
    assert "a.test.yml:7" in str(refused.value)
    assert "did you mean firewater.fire?" in str(refused.value)


# Faults, as the log sees them.

STEADY = "series: [{{static_pressure: 0.12x9}}]\nfaults: [{{{fault}}}]\nexpect: []"


def packs(folder: Path, fault: str) -> list[tuple[int, int, int, int, int, list[float]]]:
    """(arrived s, boot number, seq, wall s, mono s, values) of each pack, in order."""
    case = suite_of(folder, STEADY.format(fault=fault)).cases[0]
    found = []
    for record in traffic(case).records:
        if record.kind is RecordKind.PACK:
            raw = decode_raw(record.payload)
            head, start = raw.header, case.start_ms
            found.append(
                (
                    (record.accepted_ms - start) // 1000,
                    head.boot >> 32,
                    head.seq,
                    (head.wall_ms - start) // 1000,
                    head.mono_ms // 1000,
                    raw.value.tolist(),
                )
            )
    return found


def test_drop_loses_packs_but_not_their_numbers(tmp_path: Path) -> None:
    found = packs(tmp_path, "drop: gw1 10s..40s")
    assert [(at, seq) for at, _, seq, *_ in found[:3]] == [(0, 1), (40, 5), (50, 6)]


def test_drop_of_a_device_loses_readings_only(tmp_path: Path) -> None:
    found = packs(tmp_path, "drop: h1 10s..40s")
    assert [(at, seq) for at, _, seq, *_ in found[:3]] == [(0, 1), (40, 2), (50, 3)]


def test_duplicates_are_the_same_pack_again(tmp_path: Path) -> None:
    found = packs(tmp_path, "duplicate: gw1 10s..20s")
    assert [seq for _, _, seq, *_ in found] == [1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_reorder_keeps_to_its_bound(tmp_path: Path) -> None:
    found = packs(tmp_path, "reorder: gw1 within 25s")
    order = [seq for _, _, seq, *_ in found]
    assert order != sorted(order)
    assert sorted(order) == list(range(1, 11))
    assert all(wall <= at <= wall + 25 for at, _, _, wall, *_ in found)


def test_skew_moves_the_wall_clock_and_not_the_monotonic_one(tmp_path: Path) -> None:
    found = packs(tmp_path, "skew: gw1 -5m 20s..40s")
    assert [wall - at for at, _, _, wall, *_ in found[:5]] == [0, 0, -300, -300, 0]
    assert [mono - at for at, _, _, _, mono, _ in found] == [3600] * 10
    sent = traffic(suite_of(tmp_path, STEADY.format(fault="skew: gw1 +1h")).cases[0]).records
    stamped = [decode_raw(r.payload) for r in sent if r.kind is RecordKind.PACK]
    assert all(raw.ts_ms.tolist() == [raw.header.wall_ms] for raw in stamped)


def test_reboot_begins_anew(tmp_path: Path) -> None:
    found = packs(tmp_path, "reboot: gw1 at 35s")
    assert [(boot, seq, mono) for _, boot, seq, _, mono, _ in found[3:6]] == [
        (1, 4, 3630),
        (2, 1, 6),
        (2, 2, 16),
    ]


def test_backlog_and_delay_arrive_later(tmp_path: Path) -> None:
    found = packs(tmp_path, "backlog: gw1 20s..40s arrives at 1m")
    assert [at for at, *_ in found] == [0, 10, 40, 50, 60, 60, 60, 70, 80, 90]
    assert [seq for _, _, seq, *_ in found[4:7]] == [3, 4, 7]
    assert [at for at, *_ in packs(tmp_path, "delay: gw1 ..20s by 15s")[:3]] == [15, 20, 25]


def test_flap_toggles_the_value(tmp_path: Path) -> None:
    found = packs(tmp_path, "flap: h1 static_pressure 0.05/0.2 20s..1m")
    assert [values[0] for *_, values in found[:7]] == [0.12, 0.12, 0.05, 0.2, 0.05, 0.2, 0.12]
    slow = packs(tmp_path, "flap: h1 static_pressure 0.05 / 0.2 20s..1m every 20s")
    assert [values[0] for *_, values in slow[2:6]] == [0.05, 0.05, 0.2, 0.2]


def test_equal_seeds_give_equal_logs(tmp_path: Path) -> None:
    assert packs(tmp_path, "reorder: gw1 within 1m") == packs(tmp_path, "reorder: gw1 within 1m")


def test_marks_travel(tmp_path: Path) -> None:
    case = suite_of(tmp_path, "series: [{static_pressure: 0.1!bad 0.1}]\nexpect: []").cases[0]
    sent = [r for r in traffic(case).records if r.kind is RecordKind.PACK]
    assert [decode_raw(r.payload).flags.tolist() for r in sent] == [[Flag.BAD], [0]]


def test_the_registry_of_a_test_has_what_its_devices_say(tmp_path: Path) -> None:
    result = run(
        tmp_path, "series: [{fire: 1}]\nexpect: [{at: 0s, rule: firewater.fire, is: raised}]"
    )
    place = result.played.came[0].data["place"]
    assert place["grid"]["code"] == "340199001001001"
    assert json.dumps(place["district"]) == '{"code": "340199", "name": "340199"}'


def test_the_tour_of_the_manual_passes(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
    tour = page.split("## Testing a rule")[1].split("\n\n")[2]
    for name in ("firewater.yml", "gateway.yml"):
        (tmp_path / name).write_text((shipped_rules() / name).read_text(encoding="utf-8"))
    (tmp_path / "firewater.test.yml").write_text(dedent(tour))
    (result,) = run_suite(load_suite(tmp_path), lambda *_: None)
    assert result.problems == ()


def test_replay_of_the_same_readings_as_lines_gives_the_same_bytes(
    shipped: Suite, tmp_path: Path
) -> None:
    """Another way in: native JSON lines and a registry folder instead of packs in a log."""
    compared_cases = 0
    for number, case in enumerate(shipped.cases):
        marked = any(s is not None and s.flags for one in case.series for s in one.samples)
        ends = max(one.end_ms for one in case.series)
        families = {case.devices[one.device].family for one in case.series}
        if case.faults or case.commands or marked or case.until_ms > ends:
            continue
        if "gateway" in families or case.until_ms > LONGEST_MS:
            continue  # A gateway's own word comes with its status, not as lines.
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in registry_files(case).items():
            (folder / name).write_bytes(content)
        (folder / "readings.jsonl").write_bytes(_lines(case))
        replayed: list[bytes] = []

        replay(
            open_recording(folder / "readings.jsonl"),
            ruleset=shipped.ruleset,
            registry=load_registry(folder),
            settings=None,
            on_step=lambda step, to=replayed: to.extend(map(compared, step.events)),
        )

        played = play(case, shipped.ruleset, shipped.registries.of(case))
        of_gateways = {device.gateway for device in case.devices.values()}
        own = [e for e in played.events if e.data.get("device") not in of_gateways]
        assert replayed == [compared(event) for event in own], case.name
        compared_cases += 1
    assert compared_cases >= 10


def _lines(case: Case) -> bytes:
    rows = [
        (case.start_ms + one.from_ms + tick * one.interval_ms, one, sample.value)
        for one in case.series
        for tick, sample in enumerate(one.samples)
        if sample is not None
    ]
    rows.sort(key=lambda row: row[0])
    return b"".join(
        msgspec.json.encode(
            {
                "deviceId": one.device,
                "family": case.devices[one.device].family,
                "ts": ts_ms,
                "metrics": {one.quantity: value},
            }
        )
        + b"\n"
        for ts_ms, one, value in rows
    )


GROUP = """
  - id: firewater.both
    title: {zh: 都低, en: Both low}
    on: {family: firewater}
    group: building
    when: devices(static_pressure < 0.07 MPa) >= 2
    severity: 2
"""


def test_an_alert_of_a_group_is_named_in_short(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(f"rules:{GROUP}")
    (tmp_path / "a.test.yml").write_text(
        dedent(
            """
            devices:
              h1: {family: firewater, building: "3"}
              h2: {family: firewater, building: "3", gateway: gw2}
            tests:
              - name: two of a building
                rule: firewater.both
                device: building 3
                series:
                  - {device: [h1, h2], static_pressure: 0.2x2 0.05x2 0.2x2}
                expect:
                  - {at: 30s, is: raised, breached: 2, size: 2}
                  - {at: 1m, is: cleared}
            """
        )
    )
    (result,) = run_suite(load_suite(tmp_path), lambda *_: None)
    assert result.problems == ()
