"""Which rows can't matter: a look at all rows of a batch at once, before any rule is asked.

A device rests in a batch when each of its rows says nothing new to anyone:

* The value lies in the calm interval of its (family, quantity), so it breaches no rule that asks
  for this quantity alone, and no such rule has an active instance; or all of those were asked about
  a value that means the same (`rules.pieces`, `rules.standing`).
* What remembers it, for rules over several quantities and for questions of groups, was asked about
  a value that means the same, and the row comes in order.
* Its quality is plain, and the device wasn't silent for so long that a rule might ask.
* No instance of another kind is active.
* What is derived of it, or of time, says nothing new either.

Rows of such a device are only remembered. So in a quiet district a batch costs the same few
passes over its columns, however many rules there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILIES
from rules.calm import Calm
from rules.derived.rows import Rows
from rules.group.predicates import Predicates
from rules.members import Members
from rules.memory import Memory
from rules.positions import true_at
from rules.scan import Scan
from rules.sheet import DOUBT, Index, begins
from rules.silence import Silence

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Ranks = NDArray[np.int32]


class Listener(Protocol):
    """What keeps something of each row of one quantity of one family."""

    def says_nothing(self, value: Floats, ts_ms: Times, rank: Ranks) -> Bools:
        """bool per row, plain ones: whether it changes no answer; alone, without other rows."""
        ...

    def take(self, value: Floats, ts_ms: Times, rank: Ranks) -> None:
        """Rows that change no answer of their device."""
        ...


@dataclass(frozen=True, slots=True)
class Awake:
    """rows: positions in the batch, ascending, None = all. derived: positions in what was
    derived."""

    rows: Index | None
    derived: Index | None


class Rest:
    """The rows of one mode. silence, predicates: what listens in event time; None = nothing."""

    def __init__(
        self,
        calm: Calm,
        scan: Scan,
        members: Members,
        directory: DeviceDirectory,
        *,
        unresting: Iterable[int] = (),
        silence: Silence | None = None,
        predicates: Predicates | None = None,
    ) -> None:
        """unresting: quantities of which each row counts."""
        self._scan = scan
        self._members = members
        self._directory = directory
        self._silence = silence
        self._predicates = predicates
        self._width = calm.width
        self._low, self._high = calm.low.copy(), calm.high.copy()
        rows = np.arange(len(FAMILIES)) * self._width
        unresting = {*unresting, *scan.momentary()}
        for quantity in unresting:
            self._low[rows + quantity], self._high[rows + quantity] = np.inf, -np.inf
        heard = scan.combined()
        if predicates is not None:
            heard |= predicates.single()
        self._heard = np.zeros(len(self._low), np.bool_)
        self._heard[[family * self._width + quantity for family, quantity in heard]] = True
        self._listeners: dict[int, tuple[Listener, ...]] = {}
        self._standing = {
            family * self._width + quantity: one
            for (family, quantity), one in scan.standing.items()
            if quantity not in unresting
        }
        self._single = np.zeros(len(self._low), np.bool_)
        self._single[list(self._standing)] = True
        self._base = np.empty(0, np.intp)
        self._marked = np.zeros(0, np.bool_)
        self._sorts_as = np.int16 if len(self._low) < 2**15 else np.int32
        self.grow()

    def grow(self) -> None:
        """Take in devices that the directory has got since."""
        fresh = self._directory.family[len(self._base) :].astype(np.intp) * self._width
        self._base = np.concatenate([self._base, fresh])

    def wake(
        self,
        batch: TaggedBatch,
        active: NDArray[np.int32],
        restless: NDArray[np.int32],
        derived: Rows | None = None,
    ) -> Awake:
        """The rows that must be looked at; the others are remembered and done with.

        active: int32 per directory row, how many instances of the device are active; restless: how
        many of them want to see each of its rows. derived: all that is derived of the batch and of
        time.
        """
        readings = _Look(batch.device, batch.quantity, batch.ts_ms, batch.value, active)
        self._look(readings, restless)
        readings.stirred |= (batch.flags & DOUBT) != 0
        gaps = None
        if self._silence is not None and self._silence.rules:
            gaps = self._silence.look(readings.device, readings.ts_ms)
            readings.stirred |= gaps.stirred
        looks = [readings]
        if derived is not None:
            made = _Look(derived.device, derived.quantity, derived.ts_ms, derived.value, active)
            self._look(made, restless, derived=True)
            if derived.flags is not None:
                made.stirred |= derived.flags > 0
            looks.append(made)
        self._spread(looks, len(active))
        for look in looks:
            self._remember(look)
        if self._silence is not None and gaps is not None:
            self._silence.hear_resting(gaps, ~readings.awake)
        rows = None if readings.awake.all() else true_at(readings.awake)
        return Awake(rows, None if derived is None else true_at(looks[1].awake))

    def _look(self, look: _Look, restless: NDArray[np.int32], *, derived: bool = False) -> None:
        """Which rows matter by themselves."""
        value = look.value
        key = self._base.take(look.device)
        key += look.quantity
        calm = value >= self._low.take(key)
        calm &= value <= self._high.take(key)
        if derived:
            # What isn't known breaches nothing; who remembers was told that it isn't.
            calm |= np.isnan(value)
        look.stirred = ~calm
        asks = look.stirred | look.busy
        if asks.any():
            asks &= self._single.take(key)
            for at, number in self._by_key(key, asks):
                rows, single = self._rows(look, at), self._standing[number]
                look.stirred[at] = ~single.says_nothing(rows.value, rows.ts_ms, rows.rank)
                look.heard.append((single, rows))
            look.stirred |= restless.take(look.device) > 0
        for at, number in self._by_key(key, self._heard.take(key)):
            rows = self._rows(look, at)
            for listener in self._listening(number):
                look.stirred[at] |= ~listener.says_nothing(rows.value, rows.ts_ms, rows.rank)
                look.heard.append((listener, rows))

    def _by_key(self, key: Index, asks: Bools) -> Iterator[tuple[Index, int]]:
        """(where they stand, their key) of rows of the same family and quantity."""
        at = true_at(asks)
        if not len(at):
            return
        key = key[at]
        order = np.argsort(key.astype(self._sorts_as), kind="stable")
        key, at = key[order], at[order]
        begin = true_at(begins(key)).tolist()
        for first, end in zip(begin, [*begin[1:], len(key)], strict=True):
            yield at[first:end], int(key[first])

    def _rows(self, look: _Look, at: Index) -> _Heard:
        rank = self._members.rank.take(look.device[at])
        return _Heard(at, look.value[at], look.ts_ms[at], rank)

    def _listening(self, key: int) -> tuple[Listener, ...]:
        found = self._listeners.get(key)
        if found is None:
            family, quantity = divmod(key, self._width)
            listeners: list[Listener] = [
                _Remembering(memory, quantity)
                for memory in self._scan.memories_of(family, quantity)
            ]
            if self._predicates is not None:
                listeners += self._predicates.listeners(family, quantity)
            found = self._listeners[key] = tuple(listeners)
        return found

    def _spread(self, looks: list[_Look], devices: int) -> None:
        """A device rests as a whole, or is awake as a whole."""
        if devices > len(self._marked):
            self._marked = np.zeros(devices, np.bool_)
        stirred = [look.device[true_at(look.stirred)] for look in looks]
        for device in stirred:
            self._marked[device] = True
        for look in looks:
            look.awake = self._marked.take(look.device)
        for device in stirred:
            self._marked[device] = False

    def _remember(self, look: _Look) -> None:
        for listener, rows in look.heard:
            rests = ~look.awake[rows.at]
            if rests.all():
                listener.take(rows.value, rows.ts_ms, rows.rank)
            elif rests.any():
                listener.take(rows.value[rests], rows.ts_ms[rests], rows.rank[rests])


@dataclass(frozen=True, slots=True)
class _Remembering:
    """`Listener` of rules over several quantities."""

    memory: Memory
    quantity: int

    def says_nothing(self, value: Floats, ts_ms: Times, rank: Ranks) -> Bools:
        return self.memory.says_nothing(self.quantity, value, ts_ms, rank)

    def take(self, value: Floats, ts_ms: Times, rank: Ranks) -> None:
        self.memory.take(self.quantity, value, ts_ms, rank)


@dataclass(frozen=True, slots=True)
class _Heard:
    """Rows of one quantity of one family. at: where they stand."""

    at: Index
    value: Floats
    ts_ms: Times
    rank: Ranks


class _Look:
    """Columns of some rows. busy: rows of devices with an active instance. stirred: rows that
    matter by themselves. awake: rows of devices that don't rest. heard: what was asked about which
    rows."""

    def __init__(
        self,
        device: Ranks,
        quantity: NDArray[np.int16],
        ts_ms: Times,
        value: Floats,
        active: NDArray[np.int32],
    ) -> None:
        self.device = device.astype(np.intp)
        self.busy = active.take(self.device) > 0
        self.quantity, self.ts_ms, self.value = quantity, ts_ms, value
        self.stirred = self.awake = np.zeros(0, np.bool_)
        self.heard: list[tuple[Listener, _Heard]] = []
