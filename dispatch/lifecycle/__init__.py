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

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.alert_data import AlertChange, ModelRef
from contracts.alerts import AlertEvent, Phase, alert_id
from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.messages import OperatorCommand
from contracts.rulebook import RuleCard
from contracts.transitions import COLUMNS, Change, TransitionBatch
from dispatch.alert import Alert, Evidence, pack, unpack
from dispatch.beside import Beside
from dispatch.envelope import rings
from dispatch.lifecycle.book import Book, notices
from dispatch.lifecycle.subjects import (
    Subject,
    device_subject,
    evidence_of,
    place_of,
    subject,
)
from dispatch.lifecycle.succession import RulesChange, Succession
from dispatch.lifecycle.verdicts import Verdict, judge

VERDICTS_KEPT = 10_000
"""Command ids that are remembered, so that a repeated request does nothing."""

DEFAULT_SLACK_MS = 2_000


class Lifecycle:
    """All open alerts of one partition.

    cards: by rule row of the transitions. slack_ms: how long timed rules wait for late readings,
    said on their alerts. models: what judges for each detector; whoever gives it keeps it up to
    date.
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
        self._directory = directory
        self._book = Book(cards)
        self._rules = Succession(cards, directory, self._book)
        self._beside = Beside(cards, directory)
        self._verdicts: dict[str, str] = {}

    @property
    def counts(self) -> Counter[str]:
        """How many changes and commands went which way, by reason; part of the snapshot."""
        return self._book.counts

    def open_alerts(self) -> tuple[Alert, ...]:
        """The open alerts in the order of their raising. Not copies: don't change them."""
        return self._book.open_alerts()

    def verdict(self, command: str) -> Verdict | None:
        """What became of a command id; None = never seen, or long ago."""
        said = self._verdicts.get(command)
        return None if said is None else Verdict(said)

    # Changes of rule instances

    def apply(
        self,
        transitions: TransitionBatch,
        mark_ms: int | None = None,
        *,
        heard: TaggedBatch | None = None,
    ) -> list[AlertEvent]:
        """The events of the changes, in their order.

        mark_ms: when the time mark was accepted at which they became known; None = rows said them.
        Behind them comes what an ended inhibitor lets go by then. heard: all accepted rows among
        which those are.
        """
        self._beside.hear(heard)
        events = self._apply(transitions, mark_ms)
        if mark_ms is not None:
            events += self._book.pass_on()
        return events

    def next_ms(self) -> int | None:
        """The log's time from which on a mark would change something; None = never."""
        return self._book.next_ms()

    def _apply(self, transitions: TransitionBatch, mark_ms: int | None) -> list[AlertEvent]:
        events: list[AlertEvent] = []
        self._book.hear(mark_ms)
        if not len(transitions):
            return events
        columns = (getattr(transitions, name).tolist() for name in COLUMNS)
        for number, values in enumerate(zip(*columns, strict=True)):
            about = subject(self._directory, transitions, number)
            row = dict(zip(COLUMNS, values, strict=True))
            if mark_ms is None:
                self._book.hear(int(row["heard_ms"]))
            if not self._rules.has_say(about.id, row, events):
                continue
            events += self._change(about, row)
        return events

    def _change(self, about: Subject, row: dict[str, int | float]) -> list[AlertEvent]:
        card = self._rules.cards[int(row["rule"])]
        alert = self._book.at(card.id, about.id, int(row["lane"]))
        if alert is not None:
            alert.group = about.group
        change = Change(int(row["change"]))
        at_ms = int(row["at_ms"])
        if change in (Change.RAISED, Change.AGAIN):
            evidence = self._decided(card, row, "raised" if alert is None else "again")
            if alert is None:
                return self._raise(card, about, row, evidence)
            return self._repeat_or_again(alert, change, row, evidence)
        if alert is None:
            self._book.counts[f"{change.name.lower()}_without_alert"] += 1
            return []
        if change is Change.CLEARED:
            return self._clear(alert, at_ms, self._decided(card, row, "cleared"))
        if change is Change.LEVEL:
            return self._level(alert, row)
        return self._set_unknown(alert, change is Change.UNKNOWN, row)

    def _raise(
        self, card: RuleCard, about: Subject, row: dict[str, int | float], evidence: Evidence
    ) -> list[AlertEvent]:
        onset_ms, lane = int(row["onset_ms"]), int(row["lane"])
        at_ms = int(row["at_ms"])
        name = alert_id(card.id, about.id, onset_ms, lane)
        closed = self._book.get(name)
        if closed is not None:
            closed.group = about.group
            return self._reopen(closed, card, row, evidence)
        place, at_heard = place_of(about, onset_ms, evidence)
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
        is_over = self._book.open(alert)
        event = self._book.tell(alert, "raised", "raised", at_ms, notify=rings(alert))
        return [event, *notices(alert, at_ms, is_over)]

    def _reopen(
        self, alert: Alert, card: RuleCard, row: dict[str, int | float], evidence: Evidence
    ) -> list[AlertEvent]:
        """The same onset anew after its end: times of 1 s, or a reset while it still holds."""
        alert.card = card
        alert.state = "active"
        self._book.judge(alert, None)
        alert.removed = False
        is_over = self._book.open(alert)
        event = self._again(alert, "raised", row, evidence)
        return [event, *notices(alert, int(row["at_ms"]), is_over)]

    def _repeat_or_again(
        self, alert: Alert, change: Change, row: dict[str, int | float], evidence: Evidence
    ) -> list[AlertEvent]:
        same_onset = change is Change.RAISED and int(row["onset_ms"]) == alert.onset_ms
        seen = evidence.ts_ms == alert.why.ts_ms and evidence.quantity == alert.why.quantity
        if alert.state == "active" and (not alert.card.latched or same_onset or seen):
            self._book.counts["repeated_raise"] += 1
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
        alert.models = self._models_of(self._rules.cards[int(row["rule"])])
        alert.last = None
        at_ms, calls = int(row["at_ms"]), rings(alert)
        return self._book.tell(alert, phase, "again", at_ms, notify=calls, severity_before=before)

    def _level(self, alert: Alert, row: dict[str, int | float]) -> list[AlertEvent]:
        """It stands at another level; a latched one never at a lesser."""
        before, level = alert.severity, int(row["level"])
        rises = level > alert.stands_at
        if alert.card.latched:
            if level < alert.stands_at:
                self._book.counts["level_held"] += 1
                return []
            if not rises:
                return [
                    self._again(
                        alert,
                        "updated",
                        row,
                        self._decided(self._rules.cards[int(row["rule"])], row, "again"),
                    )
                ]
        self._stand(alert, row)
        card = self._rules.cards[int(row["rule"])]
        alert.why, alert.models = self._decided(card, row, "level"), self._models_of(card)
        if rises:
            alert.acknowledged = False
        at_ms, calls = int(row["at_ms"]), rises and rings(alert)
        return [
            self._book.tell(alert, "updated", "level", at_ms, notify=calls, severity_before=before)
        ]

    def _decided(self, card: RuleCard, row: dict[str, int | float], decided: str) -> Evidence:
        evidence = evidence_of(card, row, decided)
        if not card.tells:
            return evidence
        place = int(row["device"]), int(row["position"]), int(row["row"])
        return msgspec.structs.replace(evidence, beside=self._beside.at(card.tells, *place))

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
            self._book.counts["repeated_clear"] += 1
            return []
        alert.last = evidence
        alert.unknown = False
        if alert.card.latched:
            alert.state = "latched"
            return [self._book.tell(alert, "updated", "latched", at_ms)]
        return [self._book.close(alert, "cleared", at_ms), *self._book.let_go(alert.id, at_ms)]

    def _set_unknown(
        self, alert: Alert, unknown: bool, row: dict[str, int | float]
    ) -> list[AlertEvent]:
        if alert.unknown is unknown:
            self._book.counts["repeated_unknown" if unknown else "repeated_known"] += 1
            return []
        alert.unknown = unknown
        change: AlertChange = "unknown" if unknown else "known"
        return [self._book.tell(alert, "updated", change, int(row["at_ms"]))]

    # Commands

    def command(
        self, cmd: OperatorCommand, heard_ms: int
    ) -> tuple[list[AlertEvent], list[tuple[int, int]]]:
        """The events of a command, and what rules must reset: (rule row, device or group row).

        A refused or repeated command gives neither; `verdict(cmd.id)` and `counts` say why.
        """
        if cmd.id in self._verdicts:
            self._book.counts["command_repeated"] += 1
            return [], []
        alert = self._book.get(cmd.alert)
        verdict = judge(cmd, alert)
        self._verdicts[cmd.id] = verdict.value
        if len(self._verdicts) > VERDICTS_KEPT:
            del self._verdicts[next(iter(self._verdicts))]
        self._book.counts[f"command_{verdict.value}"] += 1
        if alert is None or verdict is not Verdict.ACCEPTED:
            return [], []
        if cmd.action == "reset":
            self._book.hear(heard_ms)
            event = self._book.close(alert, "reset", heard_ms, cmd)
            return [event, *self._book.let_go(alert.id, heard_ms)], list(self._instance(alert))
        if cmd.action == "acknowledge":
            alert.acknowledged = True
            return [self._book.tell(alert, "updated", "acknowledged", heard_ms, cmd=cmd)], []
        self._book.judge(alert, cmd.disposition)
        return [self._book.tell(alert, "updated", "disposition", heard_ms, cmd=cmd)], []

    def _instance(self, alert: Alert) -> Iterator[tuple[int, int]]:
        rule = self._rules.row_of(alert.card.id)
        row = self._directory.subject_row(alert.device)
        if rule is not None and row is not None:
            yield rule, row

    # Another rule set

    def change_rules(self, change: RulesChange) -> None:
        """From now on transitions come from two rule sets; see `RulesChange`."""
        self._rules.change(change)
        self._beside.want(self._rules.cards)

    def end_change(self) -> list[AlertEvent]:
        """All devices are with the new rules. What was held back is looked at again."""
        events = self._rules.end()
        self._beside.want(self._rules.cards)
        return events

    def settle_moved(
        self, moved: Callable[[str], bool], goes_on: Callable[[Alert, RuleCard], bool]
    ) -> list[AlertEvent]:
        """See `Succession.settle_moved`."""
        return self._rules.settle_moved(moved, goes_on)

    def settle(self, heard_ms: int) -> list[AlertEvent]:
        """Call it once after `restore`; see `Succession.settle`."""
        return self._rules.settle(heard_ms)

    # Snapshots

    def snapshot(self) -> bytes:
        state = self._book.state(tuple(self._verdicts.items()))
        return pack(msgspec.structs.replace(state, beside=self._beside.state()))

    def restore(self, blob: bytes, remap: NDArray[np.int32] | None = None) -> None:
        """Carry on from a snapshot. Raises `SnapshotRefused`.

        `remap` changes nothing: alerts are kept under the ids of rules and devices. After a
        restore under another rule set, call `settle`.
        """
        del remap
        snapshot = unpack(blob)
        self._book.take_alerts(snapshot)
        if snapshot.version == 1:
            self._find_places()
        self._book.restore(snapshot)
        self._beside.restore(snapshot.beside)
        self._verdicts = dict(snapshot.verdicts)

    def _find_places(self) -> None:
        """What a first version's snapshot doesn't say of the devices of open alerts."""
        for alert in self._book.open_alerts():
            row = self._directory.row_of.get(alert.device)
            if row is not None:
                about = device_subject(self._directory, row)
                alert.gateway, alert.riser = about.gateway, about.riser


def _is_lesser(alert: Alert, row: dict[str, int | float]) -> bool:
    return int(row["level"]) < alert.stands_at
