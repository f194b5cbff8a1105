"""Rules over the devices of a building and the like: counts, lost members, deadlines, order."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from contracts.transitions import Change, TransitionBatch
from rules import RuleSet
from tests.rules.naive import Row
from tests.rules.scene import (
    RUNNERS,
    T0,
    Device,
    S,
    Whole,
    admitted,
    directory_of,
    row,
    ruleset,
)

GRID, OTHER = "340199001001001", "340199001001002"


def smoke(building: str, gateway: int = 0, grid: str = GRID, **more: str) -> Device:
    return Device("smoke", gateway, {"building": building} | more, grid)


DEVICES = [smoke("1"), smoke("1", 1), smoke("1"), smoke("2"), smoke("1", 0, OTHER)]
GATEWAYS = [device.gateway for device in DEVICES]


@dataclass(frozen=True)
class Said:
    """One change of a group, in seconds from T0."""

    at: float
    change: str
    group: str
    value: float
    breached: int
    lost: int
    devices: tuple[int, ...]


class Watch:
    """Gathers the changes of groups that a runner's engine gives."""

    def __init__(
        self, runner: type[Whole], rules: RuleSet, devices: list[Device] = DEVICES
    ) -> None:
        self.directory = directory_of(devices)
        self.runner = runner(rules, self.directory)
        self.gateways = [device.gateway for device in devices]
        self.said: list[Said] = []
        self.runner.seen = self._note

    def _note(self, batch: TransitionBatch) -> None:
        groups = batch.groups
        for i in range(len(batch)):
            assert groups is not None
            members = groups.members[i]
            self.said.append(
                Said(
                    (int(batch.at_ms[i]) - T0) / S,
                    Change(batch.change[i]).name.lower(),
                    self.directory.groups.ids[groups.group[i]].removeprefix("group:"),
                    float(batch.value[i]),
                    int(groups.breached[i]),
                    int(groups.lost[i]),
                    tuple(members[members >= 0].tolist()),
                )
            )

    def run(self, *log: Row | str) -> list[Said]:
        self.runner.run(admitted([*log, "mark", "end"], self.gateways))
        return self.said

    def short(self, *log: Row | str) -> list[tuple[float, str]]:
        return [(said.at, said.change) for said in self.run(*log)]


def fire(at_s: float, device: int, value: float = 1.0, flags: int = 0) -> Row:
    return row(at_s, value, "fire", device, flags)


def two(extra: str = "", when: str = "devices(fire != 0) >= 2") -> RuleSet:
    return ruleset(f'id: smoke.two, on: {{family: smoke}}, group: building, when: "{when}"{extra}')


@pytest.mark.parametrize("runner", RUNNERS)
def test_two_devices_of_one_building_raise_one_alert(runner: type[Whole]) -> None:
    watch = Watch(runner, two())

    said = watch.run(
        fire(1, 0),
        fire(2, 3),  # Another building.
        fire(3, 4),  # The building of that name in another grid.
        fire(4, 1),
        fire(5, 2),
        fire(8, 0, 0),
        fire(9, 1, 0),
    )

    building = f"building:{GRID}/1"
    assert said == [
        Said(4, "raised", building, 2, 2, 0, (0, 1)),
        Said(9, "cleared", building, 1, 1, 0, (2,)),
    ]


@pytest.mark.parametrize("runner", RUNNERS)
def test_for_runs_over_the_count(runner: type[Whole]) -> None:
    watch = Watch(runner, two(", for: 10s, clear_for: 5s"))

    assert watch.short(
        fire(0, 0),
        fire(1, 1),
        fire(3, 2),
        fire(4, 0, 0),
        fire(20, 1, 0),
        fire(21, 1),
        fire(30, 2, 0),
    ) == [(11, "raised"), (35, "cleared")]


@pytest.mark.parametrize("runner", RUNNERS)
def test_waits_for_the_slowest_gateway(runner: type[Whole]) -> None:
    """What gateway 1 says of second 2 comes long after gateway 0 has spoken of second 60."""
    watch = Watch(runner, two())

    assert watch.short(
        fire(1, 0), "mark", fire(3, 0, 0), fire(60, 0), fire(60, 0, 0), "mark", fire(2, 1), "mark"
    ) == [(2, "raised"), (3, "cleared"), (60, "raised"), (60, "cleared")]


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_lost_device_neither_counts_nor_clears(runner: type[Whole]) -> None:
    watch = Watch(runner, two(", missing: unknown after 30s"))

    said = watch.run(
        fire(0, 0), fire(1, 1), fire(20, 0), fire(50, 0, 0), fire(55, 1), fire(60, 1, 0)
    )

    assert [(one.at, one.change, one.lost) for one in said] == [
        (1, "raised", 0),
        (31, "unknown", 1),
        (50, "known", 1),
        (50, "cleared", 1),
    ]
