"""Alert episodes: from changes of rule instances and commands to alert events.

A pure function of what it is given, in the order given, however that is cut into calls. One
alert at a time is open for each (rule, device, lane):

    raised -> active -> cleared                         a rule that doesn't latch
    raised -> active -> latched -> reset -> cleared     a latching rule; `again` leads back

`acknowledged`, `unknown`, `disposition` and the level at which it stands are beside the state, and
so is whether receivers are told of it (`dispatch.lifecycle.quieting`). A new onset of an open
latching alert, and a rise to a greater level, take the acknowledgement away: somebody has to look
again. A latching alert falls to no lesser level before its reset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from contracts.alert_data import AlertChange, Disposition, ModelRef
from contracts.alerts import AlertEvent, Phase, alert_id
from contracts.batch import Flag
from contracts.directory import DeviceDirectory
from contracts.groups import group_parts
from contracts.messages import OperatorCommand
from contracts.quantities import QUANTITIES
from contracts.registry import Place
from contracts.rulebook import RuleCard, Term
from contracts.transitions import COLUMNS, Change, TransitionBatch
from contracts.where import card_of
from dispatch.alert import Alert, Evidence, GroupEvidence, Snapshot, pack, unpack
from dispatch.envelope import Told, event_of, rings
from dispatch.lifecycle.budgets import Budgets, notice
from dispatch.lifecycle.quieting import Inhibitors, decide

CLOSED_KEPT = 4096
"""Closed alerts that can still be acknowledged or given a disposition; older ones are let go."""

VERDICTS_KEPT = 10_000
"""Command ids that are remembered, so that a repeated request does nothing."""

DEFAULT_SLACK_MS = 2_000


class Verdict(Enum):
    """What became of a command. All but `ACCEPTED` changed nothing."""

    ACCEPTED = "accepted"
    NO_CHANGE = "no_change"  # it was so already
    UNKNOWN_ALERT = "unknown_alert"
    ALREADY_CLEARED = "already_cleared"  # nothing to reset
    NO_DISPOSITION = "no_disposition"  # the command names none


@dataclass(frozen=True, slots=True)
class RulesChange:
    """Rules that change at event time `at_ms`, device by device.

    Rule rows of transitions are those of `new`, then those of `old`. carried: (old, new) names of
    rules and their variants between which state goes on, and alerts with it.
    """

    new: tuple[RuleCard, ...]
    old: tuple[RuleCard, ...]
    carried: frozenset[tuple[str, str]]
    at_ms: int


class Lifecycle:
    """All open alerts of one partition.

    cards: by rule row of the transitions. slack_ms: how long timed rules wait for late readings,
    said on their alerts. models: what judges for each detector; whoever gives it keeps it up to
    date. counts: how many changes and commands went which way, by reason; part of the snapshot.
    """

    def __init__(
        self,
        cards: Sequence[RuleCard],
        directory: DeviceDirectory,
        *,
        slack_ms: int = DEFAULT_SLACK_MS,
        models: Mapping[str, ModelRef] | None = None,
    ) -> None:
        self._slack_ms = slack_ms
        self._models = {} if models is None else models
        self._cards = tuple(cards)
        self._row_of_rule = {card.id: row for row, card in enumerate(self._cards)}
        self._switching: RulesChange | None = None
        self._directory = directory
        self._alerts: dict[str, Alert] = {}
        self._open: dict[tuple[str, str, int], Alert] = {}
        self._closed: dict[str, None] = {}
        self._inhibitors = Inhibitors(self._cards)
        self._held: dict[str, set[str]] = {}
        self._budgets = Budgets()
        self._verdicts: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def open_alerts(self) -> tuple[Alert, ...]:
        """The open alerts in the order of their raising. Not copies: don't change them."""
        return tuple(self._open.values())

    def verdict(self, command: str) -> Verdict | None:
        """What became of a command id; None = never seen, or long ago."""
        said = self._verdicts.get(command)
        return None if said is None else Verdict(said)

    # Changes of rule instances

    def apply(self, transitions: TransitionBatch, mark_ms: int | None = None) -> list[AlertEvent]:
        """The events of the changes, in their order.

        mark_ms: when the time mark was accepted at which they became known; None = rows said them.
        Behind them comes what an ended inhibitor lets go by then.
        """
        events = self._apply(transitions, mark_ms)
        if mark_ms is not None:
            for due_ms, ended in self._inhibitors.over():
                events += self._let_go(ended, due_ms)
        return events

    def next_ms(self) -> int | None:
        """The log's time from which on a mark would change something; None = never."""
        return self._inhibitors.next_ms()

    def _apply(self, transitions: TransitionBatch, mark_ms: int | None) -> list[AlertEvent]:
        events: list[AlertEvent] = []
        self._hear(mark_ms)
        if not len(transitions):
            return events
        columns = (getattr(transitions, name).tolist() for name in COLUMNS)
        for number, values in enumerate(zip(*columns, strict=True)):
            about = self._subject(transitions, number)
            row = dict(zip(COLUMNS, values, strict=True))
            if mark_ms is None:
                self._hear(int(row["heard_ms"]))
            if self._switching is not None and not self._has_say(
                about.id, row, self._switching, events
            ):
                continue
            events += self._change(about, row)
        return events

    def _hear(self, at_ms: int | None) -> None:
        """How far the log's time has got."""
        if at_ms is not None:
            self._inhibitors.now_ms = max(self._inhibitors.now_ms, at_ms)

    def _subject(self, transitions: TransitionBatch, number: int) -> _Subject:
        """What one change is about."""
        groups = transitions.groups
        if groups is None or groups.group[number] < 0:
            row = int(transitions.device[number])
            return self._device(row)
        row, known = int(groups.group[number]), self._directory.groups
        named = groups.members[number]
        evidence = GroupEvidence(
            size=int(groups.size[number]),
            breached=int(groups.breached[number]),
            lost=int(groups.lost[number]),
            devices=tuple(self._directory.ids[device] for device in named[named >= 0].tolist()),
        )
        gateway, riser = _named_by(known.ids[row])
        return _Subject(known.ids[row], partial(known.place, row), gateway, riser, evidence)

    def _device(self, row: int) -> _Subject:
        directory = self._directory
        table = directory.registry.devices
        riser = table.attribute("riser", row) if row < len(table) else ""
        place = partial(directory.place, row)
        return _Subject(directory.ids[row], place, _gateway_of(directory, row), riser)

    def _change(self, about: _Subject, row: dict[str, int | float]) -> list[AlertEvent]:
        card = self._cards[int(row["rule"])]
        alert = self._open.get((card.id, about.id, int(row["lane"])))
        if alert is not None:
            alert.group = about.group
        change = Change(int(row["change"]))
        at_ms = int(row["at_ms"])
        if change in (Change.RAISED, Change.AGAIN):
            evidence = _evidence(card, row, "raised" if alert is None else "again")
            if alert is None:
                return self._raise(card, about, row, evidence)
            return self._repeat_or_again(alert, change, row, evidence)
        if alert is None:
            self.counts[f"{change.name.lower()}_without_alert"] += 1
            return []
        if change is Change.CLEARED:
            return self._clear(alert, at_ms, _evidence(card, row, "cleared"))
        if change is Change.LEVEL:
            return self._level(alert, row)
        return self._set_unknown(alert, change is Change.UNKNOWN, row)

    def _raise(
        self, card: RuleCard, about: _Subject, row: dict[str, int | float], evidence: Evidence
    ) -> list[AlertEvent]:
        onset_ms, lane = int(row["onset_ms"]), int(row["lane"])
        at_ms = int(row["at_ms"])
        name = alert_id(card.id, about.id, onset_ms, lane)
        closed = self._alerts.get(name)
        if closed is not None:
            closed.group = about.group
            return self._reopen(closed, card, row, evidence)
        place, at_heard = _place(about, onset_ms, evidence)
        alert = Alert(
            id=name,
            card=card,
            device=about.id,
            lane=lane,
            onset_ms=onset_ms,
            place=place,
            place_at_heard=at_heard,
            why=evidence,
            gateway=about.gateway,
            riser=about.riser,
            raised_ms=at_ms,
            group=about.group,
            models=self._models_of(card),
        )
        self._stand(alert, row)
        self._alerts[name] = alert
        is_over = self._begin(alert)
        event = self._tell(alert, "raised", "raised", at_ms, notify=rings(alert))
        return [event, *_notices(alert, at_ms, is_over)]

    def _reopen(
        self, alert: Alert, card: RuleCard, row: dict[str, int | float], evidence: Evidence
    ) -> list[AlertEvent]:
        """The same onset anew after its end: times of 1 s, or a reset while it still holds."""
        del self._closed[alert.id]
        self._alerts[alert.id] = self._alerts.pop(alert.id)  # In the order of opening, as restored.
        alert.card = card
        alert.state = "active"
        self._judge(alert, None)
        alert.removed = False
        is_over = self._begin(alert)
        event = self._again(alert, "raised", row, evidence)
        return [event, *_notices(alert, int(row["at_ms"]), is_over)]

    def _judge(self, alert: Alert, disposition: Disposition | None) -> None:
        self._budgets.judged(alert, disposition)
        alert.disposition = disposition

    def _begin(self, alert: Alert) -> bool:
        """Open it. True: it is the first beyond its budget."""
        self._open[alert.key] = alert
        self._inhibitors.opened(alert)
        return self._decide(alert)

    def _decide(self, alert: Alert) -> bool:
        """Whether it is held, and by whom; if not, what its budget says. True: tell of that."""
        decide(alert, self._inhibitors)
        if alert.held_by:
            self._held.setdefault(alert.held_by, set()).add(alert.id)
        if alert.held:
            self.counts[f"held_{alert.held}"] += 1
            return False
        return self._budgets.take(alert)

    def _repeat_or_again(
        self, alert: Alert, change: Change, row: dict[str, int | float], evidence: Evidence
    ) -> list[AlertEvent]:
        same_onset = change is Change.RAISED and int(row["onset_ms"]) == alert.onset_ms
        seen = evidence.ts_ms == alert.why.ts_ms and evidence.quantity == alert.why.quantity
        if alert.state == "active" and (not alert.card.latched or same_onset or seen):
            self.counts["repeated_raise"] += 1
            return []
        return [self._again(alert, "updated", row, evidence)]

    def _again(
        self, alert: Alert, phase: Phase, row: dict[str, int | float], evidence: Evidence
    ) -> AlertEvent:
        before = alert.severity
        if not (alert.card.latched and phase == "updated" and _is_lesser(alert, row)):
            self._stand(alert, row)
        alert.state = "active"
        alert.acknowledged = False
        alert.unknown = False
        alert.onsets += 1
        alert.why = evidence
        alert.models = self._models_of(self._cards[int(row["rule"])])
        alert.last = None
        at_ms, calls = int(row["at_ms"]), rings(alert)
        return self._tell(alert, phase, "again", at_ms, notify=calls, severity_before=before)

    def _level(self, alert: Alert, row: dict[str, int | float]) -> list[AlertEvent]:
        """It stands at another level; a latched one never at a lesser."""
        before, level = alert.severity, int(row["level"])
        rises = level > alert.stands_at
        if alert.card.latched:
            if level < alert.stands_at:
                self.counts["level_held"] += 1
                return []
            if not rises:
                return [
                    self._again(
                        alert,
                        "updated",
                        row,
                        _evidence(self._cards[int(row["rule"])], row, "again"),
                    )
                ]
        self._stand(alert, row)
        card = self._cards[int(row["rule"])]
        alert.why, alert.models = _evidence(card, row, "level"), self._models_of(card)
        if rises:
            alert.acknowledged = False
        at_ms, calls = int(row["at_ms"]), rises and rings(alert)
        return [self._tell(alert, "updated", "level", at_ms, notify=calls, severity_before=before)]

    def _models_of(self, card: RuleCard) -> tuple[ModelRef, ...]:
        known = self._models
        return tuple(known[name] for name in card.detectors if name in known)

    def _stand(self, alert: Alert, row: dict[str, int | float]) -> None:
        """Stand where this change says."""
        alert.stands_at = int(row["level"])
        alert.stated = int(row["severity"])
        alert.waited_ms, alert.flapping_ms = int(row["waited_ms"]), int(row["flapping_ms"])
        timed = (alert.level or alert.card).timed
        alert.slack_ms = self._slack_ms if timed else 0

    def _clear(self, alert: Alert, at_ms: int, evidence: Evidence) -> list[AlertEvent]:
        if alert.state == "latched":
            self.counts["repeated_clear"] += 1
            return []
        alert.last = evidence
        alert.unknown = False
        if alert.card.latched:
            alert.state = "latched"
            return [self._tell(alert, "updated", "latched", at_ms)]
        return [self._close(alert, "cleared", at_ms), *self._let_go(alert.id, at_ms)]

    def _set_unknown(
        self, alert: Alert, unknown: bool, row: dict[str, int | float]
    ) -> list[AlertEvent]:
        if alert.unknown is unknown:
            self.counts["repeated_unknown" if unknown else "repeated_known"] += 1
            return []
        alert.unknown = unknown
        change: AlertChange = "unknown" if unknown else "known"
        return [self._tell(alert, "updated", change, int(row["at_ms"]))]

    # What was held back

    def _let_go(self, ended: str, at_ms: int) -> list[AlertEvent]:
        """Tell what only this alert has held back, in the order of raising."""
        held = [self._alerts[name] for name in self._held.pop(ended, ())]
        held.sort(key=lambda alert: (alert.onset_ms, alert.id))
        return [event for alert in held for event in self._look_again(alert, at_ms)]

    def _look_again(self, alert: Alert, at_ms: int) -> list[AlertEvent]:
        """At a held alert: it is told as raised now, or something else holds it back."""
        before = (alert.held, alert.held_by)
        is_over = self._decide(alert)
        if not alert.held:
            alert.worst = 0  # What it came to while nobody was told is nobody's worst.
            notify = rings(alert) and not alert.acknowledged
            event = self._tell(alert, "raised", "released", at_ms, notify=notify)
            return [event, *_notices(alert, at_ms, is_over)]
        if (alert.held, alert.held_by) == before:
            return []
        return [self._tell(alert, "updated", "inhibited", at_ms)]

    # Commands

    def command(
        self, cmd: OperatorCommand, heard_ms: int
    ) -> tuple[list[AlertEvent], list[tuple[int, int]]]:
        """The events of a command, and what rules must reset: (rule row, device or group row).

        A refused or repeated command gives neither; `verdict(cmd.id)` and `counts` say why.
        """
        if cmd.id in self._verdicts:
            self.counts["command_repeated"] += 1
            return [], []
        alert = self._alerts.get(cmd.alert)
        verdict = _judge(cmd, alert)
        self._verdicts[cmd.id] = verdict.value
        if len(self._verdicts) > VERDICTS_KEPT:
            del self._verdicts[next(iter(self._verdicts))]
        self.counts[f"command_{verdict.value}"] += 1
        if alert is None or verdict is not Verdict.ACCEPTED:
            return [], []
        if cmd.action == "reset":
            self._hear(heard_ms)
            event = self._close(alert, "reset", heard_ms, cmd)
            return [event, *self._let_go(alert.id, heard_ms)], list(self._instance(alert))
        if cmd.action == "acknowledge":
            alert.acknowledged = True
            return [self._tell(alert, "updated", "acknowledged", heard_ms, cmd=cmd)], []
        self._judge(alert, cmd.disposition)
        return [self._tell(alert, "updated", "disposition", heard_ms, cmd=cmd)], []

    def _instance(self, alert: Alert) -> Iterator[tuple[int, int]]:
        rule = self._row_of_rule.get(alert.card.id)
        row = self._directory.subject_row(alert.device)
        if rule is not None and row is not None:
            yield rule, row

    # Another rule set

    def change_rules(self, change: RulesChange) -> None:
        """From now on transitions come from two rule sets; see `RulesChange`."""
        self._switching = change
        self._take_cards(change.new + change.old)
        self._row_of_rule |= {card.id: row for row, card in enumerate(change.new)}

    def end_change(self) -> list[AlertEvent]:
        """All devices are with the new rules. What was held back is looked at again."""
        change, self._switching = self._switching, None
        if change is None:
            return []
        self._take_cards(change.new)
        return self._look_at_held(change.at_ms)

    def _take_cards(self, cards: tuple[RuleCard, ...]) -> None:
        self._cards = cards
        self._row_of_rule = {card.id: row for row, card in enumerate(cards)}
        before, self._inhibitors = self._inhibitors, Inhibitors(cards)
        self._inhibitors.restore(self._open.values())
        self._linger(before.now_ms, before.due, before.lingering())

    def _linger(
        self, now_ms: int, due: Sequence[tuple[int, str]], ended: Sequence[tuple[str, int]]
    ) -> None:
        """Take over what had ended and still held others back."""
        self._inhibitors.now_ms, self._inhibitors.due = now_ms, list(due)
        for name, ended_ms in ended:
            alert = self._alerts.get(name)
            if alert is not None and name in self._closed:
                self._inhibitors.linger(alert, ended_ms)

    def _has_say(
        self,
        subject: str,
        row: dict[str, int | float],
        change: RulesChange,
        events: list[AlertEvent],
    ) -> bool:
        """An alert changes over before the first that the new rule says of it; after that the
        old rule, which may still have deadlines from before, has no say."""
        number = int(row["rule"])
        card = self._cards[number]
        alert = self._open.get((card.id, subject, int(row["lane"])))
        if alert is None or alert.card.hash == card.hash:
            return True
        if number >= len(change.new):
            self.counts["of_old_rule"] += 1
            return False
        goes_on = (alert.card.name, card.name) in change.carried
        events += self._go_over(alert, card, change.at_ms, goes_on=goes_on)
        return True

    def _card_now(self, alert: Alert) -> RuleCard | None:
        """The rule of an alert as it is now for its device; of two sets, as the new one has it.
        None = the rule is gone, or nobody asks it there any more."""
        change = self._switching
        cards = self._cards if change is None else change.new
        mine = (card for card in cards if card.id == alert.card.id)
        return card_of(mine, self._directory, alert.device)

    def _go_over(
        self, alert: Alert, card: RuleCard, at_ms: int, *, goes_on: bool
    ) -> list[AlertEvent]:
        """Its rule is another one now."""
        event = self._settle(alert, card, "rule_changed", at_ms, goes_on=goes_on)
        return [event, *(self._let_go(alert.id, at_ms) if alert.state == "cleared" else [])]

    def settle_moved(
        self, moved: Callable[[str], bool], goes_on: Callable[[Alert, RuleCard], bool]
    ) -> list[AlertEvent]:
        """Say what the change of rules means for open alerts of devices that have moved.

        moved: by device. goes_on: whether the state behind the alert did, with the rule as its
        device meets it now; then the alert does too. Otherwise as in `settle`.
        """
        change = self._switching
        events: list[AlertEvent] = []
        if change is None:
            return events
        for alert in self.open_alerts():
            if not moved(alert.device):
                continue
            card = self._card_now(alert)
            if card is not None:
                if not _is_same(card, alert.card) or alert.removed:
                    carried = goes_on(alert, card)
                    events += self._go_over(alert, card, change.at_ms, goes_on=carried)
            elif not alert.removed:
                events.append(self._settle(alert, alert.card, "rule_removed", change.at_ms))
                if alert.state == "cleared":
                    events += self._let_go(alert.id, change.at_ms)
        return events

    def settle(self, heard_ms: int) -> list[AlertEvent]:
        """Say what a new rule set means for open alerts; call it once after `restore`.

        A safety or latching alert stays open until its reset, and says that its rule changed
        or is gone; any alert does whose rule judges as before and only tells other people. Any
        other alert of such a rule is cleared: a changed rule starts anew and raises again if it
        still holds; a removed one would never clear its alert. What was held back is looked at
        again: rules and inhibitors may be others now.
        """
        events = []
        for alert in self.open_alerts():
            card = self._card_now(alert)
            if card is None and not alert.removed:
                events.append(self._settle(alert, alert.card, "rule_removed", heard_ms))
            elif card is not None and (not _is_same(card, alert.card) or alert.removed):
                goes_on = _judges_alike(card, alert.card)
                events.append(self._settle(alert, card, "rule_changed", heard_ms, goes_on=goes_on))
        return events + self._look_at_held(heard_ms)

    def _look_at_held(self, at_ms: int) -> list[AlertEvent]:
        """At all that is held back: what held it may be gone, or no longer do so."""
        self._held.clear()
        held = [alert for alert in self.open_alerts() if alert.held]
        return [event for alert in held for event in self._look_again(alert, at_ms)]

    def _settle(
        self,
        alert: Alert,
        card: RuleCard,
        change: AlertChange,
        heard_ms: int,
        *,
        goes_on: bool = False,
    ) -> AlertEvent:
        if not (alert.card.safety or alert.card.latched or goes_on):
            return self._close(alert, change, heard_ms)
        before, name = alert.severity, "" if alert.level is None else alert.level.name
        names = [level.name for level in card.levels]
        alert.removed = change == "rule_removed"
        alert.card = card
        alert.stands_at = names.index(name) if name in names else len(names) - 1
        alert.stated = card.levels[alert.stands_at].severity if names else 0
        if alert.severity != before:
            change = "level"
        calls = alert.severity < before and rings(alert)
        return self._tell(alert, "updated", change, heard_ms, notify=calls, severity_before=before)

    # Snapshots

    def snapshot(self) -> bytes:
        return pack(
            Snapshot(
                alerts=tuple(self._alerts.values()),
                closed=tuple(self._closed),
                verdicts=tuple(self._verdicts.items()),
                counts=tuple(self.counts.items()),
                budgets=self._budgets.state(),
                heard_ms=self._inhibitors.now_ms,
                due=tuple(self._inhibitors.due),
                lingering=self._inhibitors.lingering(),
            )
        )

    def restore(self, blob: bytes, remap: NDArray[np.int32] | None = None) -> None:
        """Carry on from a snapshot. Raises `SnapshotRefused`.

        `remap` changes nothing: alerts are kept under the ids of rules and devices. After a
        restore under another rule set, call `settle`.
        """
        del remap
        snapshot = unpack(blob)
        self._alerts = {alert.id: alert for alert in snapshot.alerts}
        self._closed = dict.fromkeys(snapshot.closed)
        self._open = {alert.key: alert for alert in snapshot.alerts if alert.id not in self._closed}
        if snapshot.version == 1:
            self._find_places()
        self._inhibitors.restore(self._open.values())
        self._linger(snapshot.heard_ms, snapshot.due, snapshot.lingering)
        self._held.clear()
        for alert in self._open.values():
            if alert.held_by:
                self._held.setdefault(alert.held_by, set()).add(alert.id)
        self._budgets.restore(snapshot.budgets)
        self._verdicts = dict(snapshot.verdicts)
        self.counts = Counter(dict(snapshot.counts))

    # What every change ends with

    def _close(
        self, alert: Alert, change: AlertChange, at_ms: int, cmd: OperatorCommand | None = None
    ) -> AlertEvent:
        del self._open[alert.key]
        self._inhibitors.closed(alert)
        if alert.held_by:
            self._held.get(alert.held_by, set()).discard(alert.id)
        alert.state = "cleared"
        alert.unknown = False
        alert.removed = alert.removed or change == "rule_removed"
        self._closed[alert.id] = None
        if len(self._closed) > CLOSED_KEPT:
            oldest = next(iter(self._closed))
            del self._closed[oldest], self._alerts[oldest]
            self._inhibitors.forget(oldest)
            self.counts["closed_forgotten"] += 1
        return self._tell(alert, "cleared", change, at_ms, cmd=cmd)

    def _tell(
        self,
        alert: Alert,
        phase: Phase,
        change: AlertChange,
        at_ms: int,
        *,
        notify: bool = False,
        cmd: OperatorCommand | None = None,
        severity_before: int = 0,
    ) -> AlertEvent:
        before = alert.last_event
        alert.revision += 1
        alert.worst = min(alert.worst or alert.severity, alert.severity)
        alert.sequence_ms = max(alert.sequence_ms, at_ms)
        told = Told(
            phase=phase,
            change=change,
            at_ms=at_ms,
            notify=notify and not alert.held,
            causation=before if cmd is None else cmd.id,
            by="" if cmd is None else cmd.by,
            note="" if cmd is None else cmd.note,
            severity_before=severity_before,
        )
        event = event_of(alert, told)
        alert.last_event = event.id
        self.counts[f"event_{change}"] += 1
        return event

    def _find_places(self) -> None:
        """What a first version's snapshot doesn't say of the devices of open alerts."""
        for alert in self._open.values():
            row = self._directory.row_of.get(alert.device)
            if row is not None:
                about = self._device(row)
                alert.gateway, alert.riser = about.gateway, about.riser


@dataclass(frozen=True, slots=True)
class _Subject:
    """A device or a group. place: where it is at a time. gateway, riser: "" = none."""

    id: str
    place: Callable[[int], Place]
    gateway: str
    riser: str
    group: GroupEvidence | None = None


def _place(about: _Subject, onset_ms: int, evidence: Evidence) -> tuple[Place, bool]:
    """The place when it happened; when that names no grid, the one when it was heard.

    A fire stamped 1970 must still find its grid: the code valid now is where people go.
    """
    if not evidence.flags & Flag.CLOCK_UNKNOWN:
        place = about.place(onset_ms)
        if place.grid or place.community:
            return place, False
    place = about.place(evidence.heard_ms)
    return place, bool(place.grid or place.community)


def _judge(cmd: OperatorCommand, alert: Alert | None) -> Verdict:
    if alert is None:
        return Verdict.UNKNOWN_ALERT
    if cmd.action == "reset":
        return Verdict.ALREADY_CLEARED if alert.state == "cleared" else Verdict.ACCEPTED
    if cmd.action == "acknowledge":
        return Verdict.NO_CHANGE if alert.acknowledged else Verdict.ACCEPTED
    if cmd.disposition is None:
        return Verdict.NO_DISPOSITION
    return Verdict.NO_CHANGE if cmd.disposition == alert.disposition else Verdict.ACCEPTED


def _is_lesser(alert: Alert, row: dict[str, int | float]) -> bool:
    return int(row["level"]) < alert.stands_at


def _is_same(card: RuleCard, other: RuleCard) -> bool:
    """Whether it is the same variant with the same meaning."""
    return card.hash == other.hash and card.name == other.name


def _judges_alike(card: RuleCard, other: RuleCard) -> bool:
    """Whether two versions of a rule differ at most in who is told."""
    return card.decides == other.decides != ""


def _notices(alert: Alert, at_ms: int, is_over: bool) -> list[AlertEvent]:
    return [notice(alert, at_ms)] if is_over else []


def _gateway_of(directory: DeviceDirectory, device: int) -> str:
    """The gateway that speaks for a device row; a gateway as a device is its own. "" = none."""
    if directory.family_name(device) == "gateway":
        return directory.ids[device]
    row = int(directory.gateway[device])
    return "" if row < 0 else directory.gateways[row]


def _named_by(group: str) -> tuple[str, str]:
    """(gateway, riser) that a group's id names, "" = none."""
    kind, parts = group_parts(group)
    return (parts[-1] if kind == "gateway" else "", parts[-1] if kind == "riser" else "")


_PLAIN = Term("", "", "")


def _evidence(card: RuleCard, row: dict[str, int | float], decided: str) -> Evidence:
    quantity = int(row["quantity"])
    term = card.terms[quantity - len(QUANTITIES)] if quantity >= len(QUANTITIES) else _PLAIN
    is_condition = bool(term.name) and not term.unit
    name = QUANTITIES[quantity].name if 0 <= quantity < len(QUANTITIES) else term.quantity
    return Evidence(
        decided=decided,  # type: ignore[arg-type]  # one of the literals, by the callers here
        quantity=name,
        function=term.name,
        unit=term.unit,
        value=None if is_condition else _finite(row["value"]),
        threshold=None if is_condition else _finite(row["threshold"]),
        ts_ms=int(row["decided_ms"]),
        heard_ms=int(row["heard_ms"]),
        flags=int(row["flags"]),
    )


def _finite(value: float) -> float | None:
    return value if -np.inf < value < np.inf else None
