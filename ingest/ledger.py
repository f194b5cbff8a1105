"""The gap ledger: which packs of each gateway and boot have come, which are missing or lost.

Pure: it is told what was committed to the log, and can be rebuilt from the log at any time.
Asking for resends is the only thing that depends on the moment; it is not part of the state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from contracts.messages import BootConfirm, Confirm, GatewayStatus, HeldBoot, Resend
from contracts.pack import MAX_SEQ, Evicted, PackHeader, boot_text
from ingest.completeness import HOUR_MS, KEPT_HOURS, HourRow, Hours
from ingest.sequences import Gap, Sequences

MAX_GATEWAYS = 50_000
MAX_BOOTS = 8
MAX_CONFIRM_RANGES = 64
MAX_ASK_RANGES = 32
MAX_ASK_SEQUENCES = 10_000
MAX_TOMBSTONES = 4_096
"""Bounds against inventive senders (proposals)."""
PATIENCE_MS = 10_000
"""How long a gap may stand still before it is asked for (proposal)."""
MAX_ASK_EVERY_MS = 600_000
FUTURE_MS = HOUR_MS

NEVER = -1

LossReason = Literal["evicted", "not_held", "boot_forgotten"]


class Loss(NamedTuple):
    """Packs known as lost. readings: as the agent counted them, -1 = nobody knows.

    from_ms, to_ms: the event times that a tombstone named, else the times at which the packs
    before and after were closed.
    """

    gateway: str
    boot: int
    first: int
    last: int
    from_ms: int
    to_ms: int
    readings: int
    reason: LossReason


class Found(NamedTuple):
    """A pack that had been taken for lost and came after all."""

    gateway: str
    boot: int
    seq: int


class Pending(NamedTuple):
    """Changes for the store. states: gateway -> its whole state. hours: to be added up."""

    states: dict[str, bytes]
    hours: list[HourRow]
    losses: tuple[Loss, ...]
    found: tuple[Found, ...]


class _Boot(msgspec.Struct, array_like=True):
    """announced: the highest sequence that the agent says it has used. from_ms, to_ms: first and
    last sign of life on the agent's clock, `NEVER` where others only spoke of this boot.
    heard_ms: when it was last heard, on ours."""

    runs: list[list[int]]
    lost: list[tuple[int, int]]
    from_ms: int
    to_ms: int
    announced: int = 0
    heard_ms: int = 0


class GatewayState(msgspec.Struct, array_like=True):
    """All that is kept of one gateway. first_ms: its first sign of life ever."""

    first_ms: int
    boots: dict[int, _Boot]


@dataclass(slots=True)
class _Asking:
    """When the gaps of one boot last changed, and how often they were asked for."""

    hole_ms: int
    tail_ms: int
    asks: int = 0
    due_ms: int = 0


@dataclass(slots=True)
class LedgerCounts:
    """Totals since the start of the process.

    forgotten_packs: in the log, but beyond the bound on runs: they will be asked for again.
    """

    lost_packs: int = 0
    found_packs: int = 0
    forgotten_packs: int = 0
    asked: int = 0
    forgotten_boots: int = 0
    ignored_tombstones: int = 0


@dataclass(slots=True)
class Ledger:
    """Per gateway and boot, what is settled. Not safe for several threads.

    Times: wall_ms of packs and statuses is the agent's clock; it is believed only within
    `KEPT_HOURS` before and an hour after acceptance. answers_within_ms: who hasn't been heard for
    so long isn't asked; None = always. At scale he may be heard elsewhere by now.
    """

    patience_ms: int = PATIENCE_MS
    max_gateways: int | None = None
    answers_within_ms: int | None = None
    counts: LedgerCounts = field(default_factory=LedgerCounts)
    hours: Hours = field(default_factory=Hours)
    _gateways: dict[str, GatewayState] = field(default_factory=dict)
    _asking: dict[tuple[str, int], _Asking] = field(default_factory=dict)
    _losses: list[Loss] = field(default_factory=list)
    _found: list[Found] = field(default_factory=list)
    _touched: set[str] = field(default_factory=set)

    def has_room(self, gateway: str) -> bool:
        """Whether the gateway is known or one more may be."""
        most = MAX_GATEWAYS if self.max_gateways is None else self.max_gateways
        return gateway in self._gateways or len(self._gateways) < most

    def has(self, gateway: str, boot: int, seq: int) -> bool:
        """Whether this pack was received before: then it is a duplicate."""
        known = self._gateways.get(gateway)
        state = None if known is None else known.boots.get(boot)
        return state is not None and _sequences(state).has(seq)

    def note_pack(
        self,
        header: PackHeader,
        readings: int,
        accepted_ms: int,
        evicted: Sequence[Evicted] = (),
    ) -> None:
        """A pack that `has` doesn't know is in the log now."""
        gateway, seq = header.gateway, header.seq
        at_ms = _believable(header.wall_ms, accepted_ms)
        boot = self._sign_of_life(gateway, header.boot, at_ms, accepted_ms, header.mono_ms)
        sequences = _sequences(boot)
        highest, runs = sequences.highest, len(sequences.runs)
        tail = boot.announced > highest
        if sequences.add(seq, at_ms):
            self._found.append(Found(gateway, header.boot, seq))
            self.counts.found_packs += 1
        if seq > boot.announced:
            boot.announced = seq
        self.hours.count(gateway, at_ms, readings)
        if len(sequences.runs) > 1:
            self.counts.forgotten_packs += sequences.forget()
        for tombstone in evicted[:MAX_TOMBSTONES]:
            self._bury(header, tombstone, accepted_ms)
        self.counts.ignored_tombstones += max(0, len(evicted) - MAX_TOMBSTONES)
        hole = seq < highest or (runs == 1 and len(sequences.runs) > 1)
        self._watch(gateway, header.boot, boot, accepted_ms, hole=hole, tail=tail and seq > highest)

    def _bury(self, header: PackHeader, tombstone: Evicted, accepted_ms: int) -> None:
        last = tombstone.last
        if tombstone.boot == header.boot:
            # Nobody can have given up what comes after the pack that says so.
            last = min(last, header.seq - 1)
        state = self._boot(header.gateway, tombstone.boot, accepted_ms, accepted_ms)
        sequences = _sequences(state)
        newly = sequences.lose(tombstone.first, last)
        state.announced = max(state.announced, sequences.highest)
        times = (tombstone.from_ms, tombstone.to_ms)
        self._lose(header.gateway, tombstone.boot, newly, "evicted", times, tombstone.readings)
        self._explain(header.gateway, tombstone, last)
        self._watch(header.gateway, tombstone.boot, state, accepted_ms, hole=bool(newly))

    def _explain(self, gateway: str, tombstone: Evicted, last: int) -> None:
        """A birth may tell of a loss a moment before the tombstone, which knows what was lost."""
        for at, loss in enumerate(self._losses):
            if (loss.gateway, loss.boot, loss.reason) != (gateway, tombstone.boot, "not_held"):
                continue
            if tombstone.first <= loss.first and loss.last <= last:
                whole = (loss.first, loss.last) == (tombstone.first, last)
                self._losses[at] = loss._replace(
                    from_ms=tombstone.from_ms,
                    to_ms=tombstone.to_ms,
                    readings=tombstone.readings if whole else -1,
                    reason="evicted",
                )

    def note_status(self, status: GatewayStatus, accepted_ms: int) -> None:
        """A birth, heartbeat or goodbye is in the log now."""
        at_ms = _believable(status.wall_ms, accepted_ms)
        current = int(status.boot, 16)
        self._sign_of_life(status.gateway, current, at_ms, accepted_ms, status.mono_ms)
        if status.type == "offline":
            # A will was written at the start of the connection: what it holds is old.
            return
        held = {int(one.boot, 16): one for one in status.boots}
        for number, one in held.items():
            self._hold(status.gateway, number, one, accepted_ms)
        for number, boot in self._gateways[status.gateway].boots.items():
            # Boots are numbered by age: a status that comes again knows nothing of later ones.
            if number < current and number not in held:
                newly = _sequences(boot).lose(1, boot.announced)
                self._lose(status.gateway, number, newly, "not_held")
                self._watch(status.gateway, number, boot, accepted_ms, hole=bool(newly))

    def _hold(self, gateway: str, number: int, held: HeldBoot, accepted_ms: int) -> None:
        """The agent has `oldest..next-1`; what is below and never came is gone."""
        boot = self._boot(gateway, number, accepted_ms, accepted_ms)
        sequences = _sequences(boot)
        newly = sequences.lose(1, min(held.oldest, held.next) - 1)
        self._lose(gateway, number, newly, "not_held")
        tail = boot.announced > sequences.highest
        boot.announced = max(boot.announced, min(held.next - 1, MAX_SEQ))
        begun = not tail and boot.announced > sequences.highest
        self._watch(gateway, number, boot, accepted_ms, hole=bool(newly), tail=begun)

    def confirm(
        self, gateway: str, boots: Iterable[int], came: Collection[tuple[int, int]] = ()
    ) -> Confirm | None:
        """What may be forgotten of these boots; None where nothing is known of them.

        came: (boot, seq) of packs that the log has and that wait for this answer. They are always
        named: a window full of unconfirmed alarms would hold back the data that fills the gaps.
        """
        known = self._gateways.get(gateway)
        if known is None:
            return None
        confirms = []
        for number in sorted(boots):
            boot = known.boots.get(number)
            if boot is None:
                continue
            sequences = _sequences(boot)
            ranges = _told(sequences, [seq for of, seq in came if of == number])
            if sequences.upto or ranges:
                confirms.append(
                    BootConfirm(boot=boot_text(number), upto=sequences.upto, ranges=ranges)
                )
        return Confirm(confirms=tuple(confirms)) if confirms else None

    def missing(self, now_ms: int) -> list[tuple[str, Resend]]:
        """(gateway, what to ask for): gaps that stood still for the patience, with back-off.

        An agent that drains its backlog fills its gaps by itself and is left alone.
        """
        wanted: list[tuple[str, Resend]] = []
        for (gateway, number), asking in self._asking.items():
            if now_ms < asking.due_ms or self._is_silent(gateway, now_ms):
                continue
            ranges = self._stale_ranges(gateway, number, asking, now_ms)
            if not ranges:
                continue
            asking.asks += 1
            wait_ms = self.patience_ms << min(asking.asks, 16)
            asking.due_ms = now_ms + min(wait_ms, MAX_ASK_EVERY_MS)
            self.counts.asked += 1
            wanted.append((gateway, Resend(boot=boot_text(number), ranges=ranges)))
        return wanted

    def _is_silent(self, gateway: str, now_ms: int) -> bool:
        if self.answers_within_ms is None:
            return False
        boots = self._gateways[gateway].boots.values()
        return now_ms - max([boot.heard_ms for boot in boots], default=0) > self.answers_within_ms

    def _stale_ranges(
        self, gateway: str, number: int, asking: _Asking, now_ms: int
    ) -> tuple[tuple[int, int], ...]:
        boot = self._gateways[gateway].boots[number]
        sequences = _sequences(boot)
        holes = now_ms - asking.hole_ms >= self.patience_ms
        tail = now_ms - asking.tail_ms >= self.patience_ms
        room = MAX_ASK_SEQUENCES
        ranges: list[tuple[int, int]] = []
        for gap in sequences.gaps(boot.announced):
            if not (tail if gap.first > sequences.highest else holes):
                continue
            last = min(gap.last, gap.first + room - 1)
            ranges.append((gap.first, last))
            room -= last - gap.first + 1
            if room <= 0 or len(ranges) >= MAX_ASK_RANGES:
                break
        return tuple(ranges)

    def gaps(self, gateway: str) -> list[tuple[int, Gap]]:
        """(boot, gap) of all that is neither received nor known as lost."""
        known = self._gateways.get(gateway)
        if known is None:
            return []
        return [
            (number, gap)
            for number, boot in known.boots.items()
            for gap in _sequences(boot).gaps(boot.announced)
        ]

    def gateways(self) -> list[str]:
        return list(self._gateways)

    def knows(self, gateway: str) -> bool:
        return gateway in self._gateways

    def incomplete(self) -> set[str]:
        """Gateways that miss something."""
        return {gateway for gateway, _ in self._asking}

    def life(self, gateway: str) -> tuple[int, int]:
        """First and last sign of life of a known gateway, on its clock."""
        known = self._gateways[gateway]
        return known.first_ms, max((boot.to_ms for boot in known.boots.values()), default=NEVER)

    @property
    def open_gaps(self) -> int:
        """Boots that miss something; for metrics."""
        return len(self._asking)

    def _sign_of_life(
        self, gateway: str, number: int, at_ms: int, accepted_ms: int, mono_ms: int
    ) -> _Boot:
        start_ms = at_ms - max(0, mono_ms)
        boot = self._boot(gateway, number, at_ms, _believable(start_ms, accepted_ms))
        boot.heard_ms = accepted_ms
        if boot.to_ms == NEVER:
            boot.from_ms = boot.to_ms = at_ms
        elif at_ms > boot.to_ms:
            self.hours.cover(gateway, boot.to_ms, at_ms)
            boot.to_ms = at_ms
        elif at_ms < boot.from_ms:
            self.hours.cover(gateway, at_ms, boot.from_ms)
            boot.from_ms = at_ms
        known = self._gateways[gateway]
        known.first_ms = min(known.first_ms, at_ms)
        return boot

    def _boot(self, gateway: str, number: int, at_ms: int, start_ms: int) -> _Boot:
        self._touched.add(gateway)
        known = self._gateways.get(gateway)
        if known is None:
            known = self._gateways[gateway] = GatewayState(at_ms, {})
        boot = known.boots.get(number)
        if boot is None:
            begun = Sequences.beginning(start_ms)
            boot = known.boots[number] = _Boot(begun.runs, begun.lost, NEVER, NEVER)
            if len(known.boots) > MAX_BOOTS:
                self._forget_boot(gateway, known, number)
        return boot

    def _forget_boot(self, gateway: str, known: GatewayState, but: int) -> None:
        others = (number for number in known.boots if number != but)
        oldest = min(others, key=lambda number: (known.boots[number].heard_ms, number))
        boot = known.boots[oldest]
        newly = _sequences(boot).lose(1, boot.announced)
        self._lose(gateway, oldest, newly, "boot_forgotten")
        del known.boots[oldest]
        self._asking.pop((gateway, oldest), None)
        self.counts.forgotten_boots += 1

    def _lose(
        self,
        gateway: str,
        boot: int,
        newly: Iterable[Gap],
        reason: LossReason,
        times: tuple[int, int] | None = None,
        readings: int = -1,
    ) -> None:
        for gap in newly:
            from_ms, to_ms = times or (gap.from_ms, gap.to_ms)
            self._losses.append(
                Loss(gateway, boot, gap.first, gap.last, from_ms, to_ms, readings, reason)
            )
            self.counts.lost_packs += gap.last - gap.first + 1

    def _watch(
        self,
        gateway: str,
        number: int,
        boot: _Boot,
        now_ms: int,
        *,
        hole: bool = False,
        tail: bool = False,
    ) -> None:
        """Remember since when the gaps of a boot stand still: holes below its highest sequence,
        and the announced tail above it. `hole`, `tail`: whether they have just changed."""
        key = gateway, number
        if len(boot.runs) == 1 and boot.announced <= boot.runs[-1][1]:
            self._asking.pop(key, None)
            return
        asking = self._asking.get(key)
        if asking is None:
            self._asking[key] = _Asking(now_ms, now_ms)
            return
        if hole:
            asking.hole_ms = now_ms
        if tail:
            asking.tail_ms = now_ms
        if hole or tail:
            # Something moved, so the agent listens or works at it: begin again with patience.
            asking.asks, asking.due_ms = 0, 0

    def pending(self) -> Pending:
        """What changed since the last `settle`: to be stored with the position reached."""
        return Pending(
            {name: _encoder.encode(self._gateways[name]) for name in self._touched},
            self.hours.rows(),
            tuple(self._losses),
            tuple(self._found),
        )

    def settle(self, stored: Pending) -> None:
        """`stored` is safe on disk. Nothing may have been noted since it was taken."""
        self._touched.clear()
        self.hours.clear()
        del self._losses[: len(stored.losses)]
        del self._found[: len(stored.found)]

    def drain(self) -> tuple[tuple[Loss, ...], tuple[Found, ...]]:
        """What was lost and found since the last time, for who keeps the whole state himself."""
        losses, found = tuple(self._losses), tuple(self._found)
        self._touched.clear()
        self.hours.clear()
        self._losses.clear()
        self._found.clear()
        return losses, found

    def states(self) -> dict[str, bytes]:
        """The whole state of every gateway, for `restore`."""
        return {name: _encoder.encode(known) for name, known in self._gateways.items()}

    def restore(self, gateway: str, state: bytes, now_ms: int) -> None:
        """Put back a state of `Pending.states`; gaps get a new patience from `now_ms`."""
        known = _decoder.decode(state)
        self._gateways[gateway] = known
        for number, boot in known.boots.items():
            self._watch(gateway, number, boot, now_ms)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(GatewayState)


def _sequences(boot: _Boot) -> Sequences:
    return Sequences(boot.runs, boot.lost)


def _told(sequences: Sequences, came: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Ranges beyond the cumulative sequence: those around `came`, then the lowest ones."""
    named = {sequences.run_of(seq) for seq in came if seq > sequences.upto}
    for run in sequences.ranges(MAX_CONFIRM_RANGES):
        if len(named) >= MAX_CONFIRM_RANGES:
            break
        named.add(run)
    return tuple(sorted(named))


def _believable(at_ms: int, accepted_ms: int) -> int:
    """The agent's clock within bounds; else the time of acceptance."""
    near = accepted_ms - KEPT_HOURS * HOUR_MS <= at_ms <= accepted_ms + FUTURE_MS
    return at_ms if near else accepted_ms
