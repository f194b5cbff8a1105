"""One alert as the lifecycle keeps it, and the snapshot of all of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.alert_data import AlertState, Disposition, ModelRef
from contracts.registry import Place
from contracts.rulebook import Level, RuleCard, Text
from dispatch.beside import Told

SNAPSHOT_VERSION = 3
"""1, before alerts could be held back, can still be read: all of its alerts were delivered. So can
2, before inhibitors lingered: none did."""

NEVER_MS = -(2**62)

OVER_BUDGET_SEVERITY = 4


class SnapshotRefused(Exception):
    """A snapshot is damaged or of another version."""


class GroupEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """On which devices of a group one change hangs. devices: ids of the first of the breached."""

    size: int
    breached: int
    lost: int
    devices: tuple[str, ...]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What decided one change. value, threshold: canonical unit, None = none. flags: `Flag`.

    function: what was asked of the quantity, as `avg(static_pressure, 5m)`, "" = its newest value;
    unit: then, that of the value, "" = it is true or false and has none. beside: newest values of
    the other quantities that the rule's texts name.
    """

    decided: Literal["raised", "again", "level", "cleared", "unknown", "known"]
    quantity: str
    value: float | None
    threshold: float | None
    ts_ms: int
    heard_ms: int
    flags: int
    function: str = ""
    unit: str = ""
    beside: dict[str, float] = {}


class Alert(msgspec.Struct, kw_only=True):
    """The state of one episode; only the lifecycle changes it.

    device: its id, or the id of a group (it begins with "group:").
    place is that of the onset: `source` stays the same over the life of an alert.
    why: the evidence of the last onset or level; last: of the last other change, None = none yet.
    stands_at: index into the card's levels, -1 = it has none. stated: the severity there, 0 = the
    card's. waited_ms: how long the condition had to hold because the device flapped, flapping_ms:
    how long the next one must; 0 = no longer than the rule says. worst: the worst severity told
    so far, 0 = none yet.
    sequence_ms: the greatest event time said so far, so that `sequence` never falls.
    gateway, riser: of the device at the onset, beside `place`; "" = not known. held: why receivers
    aren't told of it, "" = they are. held_by, held_by_rule: id and rule of the alert that keeps
    it back, "" = none. raised_ms: event time of the raise, which names the day of its budget.
    counted: it has taken one from the budget. over_budget: there was none left. models: those of
    the rule's detectors, when `why` was decided.
    """

    id: str
    card: RuleCard
    device: str
    lane: int
    onset_ms: int
    place: Place
    place_at_heard: bool
    why: Evidence
    slack_ms: int = 0
    last: Evidence | None = None
    state: AlertState = "active"
    acknowledged: bool = False
    unknown: bool = False
    removed: bool = False
    disposition: Disposition | None = None
    revision: int = 0
    onsets: int = 1
    sequence_ms: int = 0
    last_event: str = ""
    group: GroupEvidence | None = None
    gateway: str = ""
    riser: str = ""
    held: Literal["", "inhibited", "shadow"] = ""
    held_by: str = ""
    held_by_rule: str = ""
    raised_ms: int = 0
    counted: bool = False
    over_budget: bool = False
    stands_at: int = -1
    stated: int = 0
    worst: int = 0
    waited_ms: int = 0
    flapping_ms: int = 0
    models: tuple[ModelRef, ...] = ()

    @property
    def rule_severity(self) -> int:
        """What the rule says at present, 1 to 4."""
        return self.stated or self.card.severity

    @property
    def severity(self) -> int:
        """What it is told as; a safety alert is never told as less than its rule says."""
        return (
            OVER_BUDGET_SEVERITY
            if self.over_budget and not self.card.safety
            else self.rule_severity
        )

    @property
    def level(self) -> Level | None:
        """What it stands at; None = the rule has no levels."""
        return self.card.levels[self.stands_at] if self.stands_at >= 0 else None

    @property
    def key(self) -> tuple[str, str, int]:
        """What can have one open alert at a time: rule, device, lane."""
        return (self.card.id, self.device, self.lane)


class BudgetUse(msgspec.Struct, frozen=True, array_like=True):
    """What a rule has used of its budget in a grid on a day. day: local, days since 1970."""

    rule: str
    grid: str
    day: int
    used: int
    told: bool


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    card: int
    alert: Alert


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All of a lifecycle's state. alerts: open ones and remembered closed ones, in order.

    heard_ms: how far the log's time has got. lingering: (id of a closed alert that still holds
    others back, when its end was known). due: (when it lets some of them go, its id).
    beside: see `dispatch.beside`. version: that it was read from.
    """

    alerts: tuple[Alert, ...]
    closed: tuple[str, ...]
    verdicts: tuple[tuple[str, str], ...]
    counts: tuple[tuple[str, int], ...]
    budgets: tuple[BudgetUse, ...] = ()
    heard_ms: int = NEVER_MS
    due: tuple[tuple[int, str], ...] = ()
    lingering: tuple[tuple[str, int], ...] = ()
    beside: tuple[Told, ...] = ()
    version: int = SNAPSHOT_VERSION


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    version: int
    cards: tuple[RuleCard, ...]
    alerts: tuple[_Kept, ...]
    closed: tuple[str, ...]
    verdicts: tuple[tuple[str, str], ...]
    counts: tuple[tuple[str, int], ...]
    budgets: tuple[BudgetUse, ...] = ()
    heard_ms: int = NEVER_MS
    due: tuple[tuple[int, str], ...] = ()
    lingering: tuple[tuple[str, int], ...] = ()
    beside: tuple[Told, ...] = ()


_packed_decoder = msgspec.msgpack.Decoder(_Packed)


_NO_CARD = RuleCard(id="", hash="", family="", condition="", severity=4, title=Text())


def pack(snapshot: Snapshot) -> bytes:
    """Snapshot to bytes. Rule cards are written once each, however many alerts they have."""
    cards: dict[RuleCard, int] = {}
    kept = []
    for alert in snapshot.alerts:
        row = cards.setdefault(alert.card, len(cards))
        kept.append(_Kept(row, msgspec.structs.replace(alert, card=_NO_CARD)))
    return msgspec.msgpack.encode(
        _Packed(
            SNAPSHOT_VERSION,
            tuple(cards),
            tuple(kept),
            snapshot.closed,
            snapshot.verdicts,
            snapshot.counts,
            snapshot.budgets,
            snapshot.heard_ms,
            snapshot.due,
            snapshot.lingering,
            snapshot.beside,
        )
    )


def unpack(blob: bytes) -> Snapshot:
    """Bytes to snapshot. Raises `SnapshotRefused`."""
    try:
        packed = _packed_decoder.decode(blob)
    except msgspec.DecodeError as error:
        raise SnapshotRefused(f"lifecycle snapshot: {error}") from None
    if not 1 <= packed.version <= SNAPSHOT_VERSION:
        raise SnapshotRefused(f"lifecycle snapshot version {packed.version}")
    return Snapshot(
        alerts=tuple(
            msgspec.structs.replace(kept.alert, card=packed.cards[kept.card])
            for kept in packed.alerts
        ),
        closed=packed.closed,
        verdicts=packed.verdicts,
        counts=packed.counts,
        budgets=packed.budgets,
        heard_ms=packed.heard_ms,
        due=packed.due,
        lingering=packed.lingering,
        beside=packed.beside,
        version=packed.version,
    )
