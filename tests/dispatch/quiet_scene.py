"""Two gateways, two buildings of two grids, and rules that keep each other back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from contracts.alerts import AlertEvent
from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILY_INDEX
from contracts.registry import Column, DeviceTable, Grid, Registry
from contracts.rulebook import Inhibition, RuleCard, Text
from contracts.transitions import Change
from dispatch.lifecycle import Lifecycle
from tests.dispatch import scene
from tests.dispatch.scene import GRID_A, GRID_B, T0, S

GATEWAY, POWER, SILENT, FAULT, TRIAL, BUSY, SAFE = range(7)
"""Rows of `CARDS`."""

GW_1, GW_2, SD_1, SD_2, SD_3, SD_LOST, FOREIGN = range(7)
"""Devices: two gateways; two behind the first, one behind the second; one that the registry
doesn't place; one that nobody speaks for."""

BY_GATEWAY = Inhibition(by="gateway.offline", on="gateway")


def card(name: str, **more: Any) -> RuleCard:
    family, condition = name.split(".")
    return RuleCard(
        id=name,
        hash=more.pop("hash", name),
        family=family,
        condition=condition,
        severity=more.pop("severity", 2),
        title=Text(f"题 {name}", f"Title {name}"),
        **more,
    )


CARDS = (
    card("gateway.offline"),
    card("gateway.power", inhibit=(Inhibition(by="gateway.offline", on="building"),)),
    card("smoke.silent", inhibit=(BY_GATEWAY, Inhibition(by="gateway.power", on="grid"))),
    card("smoke.fault", inhibit=(Inhibition(by="smoke.*", on="unit"),), latched=True),
    card("smoke.trial", shadow=True),
    card("smoke.busy", budget=2, owner="desk-3"),
    card("smoke.fire", severity=1, safety=True, latched=True),
)


def directory() -> DeviceDirectory:
    families = ("gateway", "gateway", "smoke", "smoke", "smoke", "smoke", "smoke")
    table = DeviceTable(
        ids=("gw-1", "gw-2", "sd-1", "sd-2", "sd-3", "sd-lost", "sd-foreign"),
        family=np.array([FAMILY_INDEX[name] for name in families], np.int8),
        gateways=("gw-1", "gw-2"),
        # The second gateway stands in the registry without a word of who speaks for it.
        gateway=np.array([0, -1, 0, 0, 1, 0, -1], np.int32),
        grid=np.array([0, 1, 0, 0, 1, -1, 0], np.int32),
        lon=np.full(7, np.nan),
        lat=np.full(7, np.nan),
        attributes={
            # The same name in both grids: another building all the same.
            "building": Column(np.array([0, 0, 0, 0, 0, 0, -1], np.int32), ("3号楼",)),
            "unit": Column(np.array([-1, -1, 0, 1, 0, 0, -1], np.int32), ("1", "2")),
        },
    )
    grids = (Grid(GRID_A, "一网格", "residential"), Grid(GRID_B, "二网格", "residential"))
    return DeviceDirectory(Registry(grids=grids, devices=table))


def lifecycle(cards: Sequence[RuleCard] = CARDS) -> Lifecycle:
    return Lifecycle(cards, directory())


class Play:
    """A lifecycle fed one change at a time; `events` is all that it said."""

    def __init__(self, cards: Sequence[RuleCard] = CARDS) -> None:
        self.life = lifecycle(cards)
        self.events: list[AlertEvent] = []
        self._commands = 0

    def on(self, rule: int, device: int, at_s: float = 0, **more: Any) -> str:
        """Raise; the alert's id."""
        told = self._apply(Change.RAISED, rule, device, at_s, **more)
        return told[0].subject if told else ""

    def off(self, rule: int, device: int, at_s: float = 0, **more: Any) -> list[AlertEvent]:
        return self._apply(Change.CLEARED, rule, device, at_s, **more)

    def order(self, action: str, alert: str, at_s: float = 0, **more: str) -> list[AlertEvent]:
        self._commands += 1
        cmd = scene.order(action, alert, command=f"c{self._commands}", **more)
        told, _ = self.life.command(cmd, T0 + round(at_s * S))
        self.events += told
        return told

    def restart(self, cards: Sequence[RuleCard] = CARDS) -> list[AlertEvent]:
        """As after a kill, perhaps under other rules; what the rules mean for open alerts."""
        blob, self.life = self.life.snapshot(), lifecycle(cards)
        self.life.restore(blob)
        told = self.life.settle(T0)
        self.events += told
        return told

    def told(self, alert: str) -> list[tuple[str, str, str]]:
        """(phase, change, delivery) of an alert's events."""
        return [said(event) for event in self.events if event.subject == alert]

    def _apply(
        self, what: Change, rule: int, device: int, at_s: float, **more: Any
    ) -> list[AlertEvent]:
        row = scene.change(what, T0 + round(at_s * S), rule=rule, device=device, **more)
        told = self.life.apply(scene.batch(row))
        self.events += told
        return told


def said(event: AlertEvent) -> tuple[str, str, str]:
    delivery = event.data["delivery"]["state"]
    return (event.type.rsplit(".", 1)[1], event.data["change"], delivery)
