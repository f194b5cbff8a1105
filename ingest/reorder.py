"""The reorder buffer: rows wait until their gateway's watermark has reached them.

Waiting rows lie in blocks of columns, sorted by (gateway, event time) within each push. What one
push brought for one gateway is a *stretch*; releasing takes a prefix of it. So a mark costs what
it releases and one comparison per stretch, not a look at every row that waits. Rows stay where
they are put, and emptied blocks are used again; only the last few of a nearly empty block move.

A release is bounded. When all gateways fall silent together, their watermarks jump over everything
that waits, and whoever rings next would wait until all of it is worked off. So a release takes the
earliest `PORTION_ROWS` only and leaves the rest for the next one: what has been released is told as
*progress*, a watermark per gateway that stays behind the true one for as long as rows are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TAGGED, Flag, TaggedBatch
from ingest.ordering import event_order, ranges, runs, stable_order
from ingest.packed_rows import pack_column, pack_rows, unpack_column, unpack_rows
from ingest.watermark import NEVER

BLOCK_ROWS = 1 << 17
SPARE_BLOCKS = 4
PORTION_ROWS = 50_000
"""A release takes so many rows (proposal). With the shipped rules that is 20 to 40 ms of work on
one core (measured, AMD EPYC): what an alarm that comes now may wait for."""
GAIN = 4
"""Where more than a portion came since the last release, that many are taken and one part in so
many more: at any load, and however rarely marks come, what is left over shrinks (proposal)."""
SPARSE = 8
"""A block with waiting rows in fewer than one place in so many is emptied into another."""


class _Block:
    """Columns for `capacity` rows. A stretch is rows next..end, all of one gateway, by time.

    A row that was put stays as it is until the block is used again. shared: somebody looks at
    the rows (`view`), so it isn't.
    """

    def __init__(self, capacity: int) -> None:
        self.columns: dict[str, NDArray[Any]] = {
            name: np.empty(capacity, dtype) for name, dtype in TAGGED.items()
        }
        self.capacity = capacity
        self.shared = False
        self.clear()

    def clear(self) -> None:
        self.used = 0
        self.waiting = 0
        self.home = np.empty(0, np.int32)
        self.next = np.empty(0, np.int64)
        self.end = np.empty(0, np.int64)

    def append(
        self, batch: TaggedBatch, home: NDArray[np.int32], order: NDArray[np.intp] | None
    ) -> None:
        """Add rows that `order` sorts by (home, ts); `home` is sorted already."""
        count, start = len(batch), self.used
        for name, column in self.columns.items():
            rows = getattr(batch, name)
            column[start : start + count] = rows if order is None else rows[order]
        self.used += count
        self.waiting += count
        begins, size = runs(home)
        self.home = np.concatenate([self.home, home[begins]])
        self.next = np.concatenate([self.next, start + begins])
        self.end = np.concatenate([self.end, start + begins + size])

    def heads(self) -> NDArray[np.int64]:
        """int64 per stretch: its earliest event time."""
        heads: NDArray[np.int64] = self.columns["ts_ms"][self.next]
        return heads

    def ready_ms(self, watermark_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """The event times of the rows up to their gateway's watermark, in no order."""
        ready, stop = self._ready(watermark_ms)
        times: NDArray[np.int64] = self.columns["ts_ms"][
            ranges(self.next[ready], stop - self.next[ready])
        ]
        return times

    def _ready(self, watermark_ms: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The stretches with rows up to their gateway's watermark, and the first row after."""
        limit = watermark_ms[self.home]
        ready = np.flatnonzero(self.heads() <= limit)
        return ready, self._first_after(ready, limit[ready])

    def release(self, watermark_ms: NDArray[np.int64]) -> TaggedBatch | None:
        """Take the rows up to their gateway's watermark, stretch by stretch; None = none."""
        ready, stop = self._ready(watermark_ms)
        if not len(ready):
            return None
        index = ranges(self.next[ready], stop - self.next[ready])
        self.next[ready] = stop
        self.waiting -= len(index)
        left = self.next < self.end
        self.home, self.next, self.end = self.home[left], self.next[left], self.end[left]
        return self._take(index)

    def view(self) -> _View:
        """What waits now, for somebody who looks later and in another thread."""
        self.shared = True
        return _View(self.columns, self.home, self.next.copy(), self.end)

    def everything(self) -> tuple[TaggedBatch, NDArray[np.int32]]:
        return _View(self.columns, self.home, self.next, self.end).rows()

    def _take(self, index: NDArray[np.int64]) -> TaggedBatch:
        return TaggedBatch(*(column[index] for column in self.columns.values()))

    def _first_after(
        self, stretches: NDArray[np.intp], limit_ms: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """For each stretch the first row later than its limit: a bisection of all at once."""
        low, high = self.next[stretches], self.end[stretches]
        ts = self.columns["ts_ms"]
        while True:
            searching = low < high
            if not searching.any():
                return low
            middle = np.where(searching, (low + high) >> 1, 0)
            passed = searching & (ts[middle] <= limit_ms)
            low = np.where(passed, middle + 1, low)
            high = np.where(searching & ~passed, middle, high)


@dataclass(frozen=True, slots=True)
class _View:
    """The waiting rows of a block at one moment."""

    columns: dict[str, NDArray[Any]]
    home: NDArray[np.int32]
    next: NDArray[np.int64]
    end: NDArray[np.int64]

    def rows(self) -> tuple[TaggedBatch, NDArray[np.int32]]:
        """All waiting rows and the gateway that each waits for."""
        size = self.end - self.next
        index = ranges(self.next, size)
        taken = TaggedBatch(*(column[index] for column in self.columns.values()))
        return taken, np.repeat(self.home, size)


class ReorderBuffer:
    """State: the waiting rows, and progress. Late rows wait for the next mark only.

    progress_ms: int64 per gateway, `NEVER` before its first release: nothing that is not late
    waits, or will come, with an event time at or before it. is_behind: the last release left rows
    that were due; not state, only for those who make marks.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._blocks: list[_Block] = []
        self._spare: list[_Block] = []
        self._late: list[TaggedBatch] = []
        self._came = 0
        self.progress_ms = np.empty(0, np.int64)
        self.is_behind = False

    def __len__(self) -> int:
        return sum(block.waiting for block in self._blocks) + sum(map(len, self._late))

    @property
    def has_late(self) -> bool:
        return bool(self._late)

    def push(self, batch: TaggedBatch, home: NDArray[np.int32]) -> None:
        """Add rows. home: int32, the gateway row whose watermark each waits for."""
        late = (batch.flags & np.uint16(Flag.LATE)) != 0
        if late.any():
            self._late.append(batch.take(late))
            batch, home = batch.take(~late), home[~late]
        if not len(batch):
            return
        self._came += len(batch)
        order = _by_home(home, batch.ts_ms)
        self._room(len(batch)).append(batch, home if order is None else home[order], order)

    def _room(self, count: int) -> _Block:
        """The last block, when it has room for so many rows, or another."""
        if self._blocks and self._blocks[-1].used + count <= self._blocks[-1].capacity:
            return self._blocks[-1]
        if self._spare and count <= BLOCK_ROWS:
            self._blocks.append(self._spare.pop())
        else:
            self._blocks.append(_Block(max(count, BLOCK_ROWS)))
        return self._blocks[-1]

    def release(self, watermark_ms: NDArray[np.int64]) -> TaggedBatch:
        """Late rows, and a portion of those up to their gateway's watermark: the earliest.

        By (ts, order, position, row). `progress_ms` then says up to where each gateway's are out.
        Watermarks don't move back, and gateways only come in addition.
        """
        self.progress_ms = self._reached_ms(watermark_ms)
        self._came = 0
        parts, self._late = self._late, []
        for block in self._blocks:
            taken = block.release(self.progress_ms)
            if taken is not None:
                parts.append(taken)
        self._tidy()
        released = TaggedBatch.join(parts)
        order = event_order(released.ts_ms, released.order, released.position, released.row)
        return released if order is None else released.take(order)

    def _reached_ms(self, watermark_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Progress after this release: the watermarks, or as far as a portion reaches.

        The portion ends at one event time for all gateways, chosen by counting only, so that it
        is a function of what waits. Rows of one event time stay together: where those of the
        earliest alone are more than a portion, they all go. A gateway that is new gets its whole
        watermark: rules count its devices' silence from the first progress they are told, and
        somebody else's old readings must not date that back.
        """
        portion = max(PORTION_ROWS, self._came + self._came // GAIN)
        missing = len(watermark_ms) - len(self.progress_ms)
        before = np.concatenate([self.progress_ms, np.full(missing, NEVER)])
        reached: NDArray[np.int64] = np.maximum(before, watermark_ms)
        self.is_behind = False
        if sum(block.waiting for block in self._blocks) <= portion:
            return reached
        ready = [block.ready_ms(reached) for block in self._blocks]
        if sum(map(len, ready)) <= portion:
            return reached
        self.is_behind = True
        times = np.concatenate(ready)
        too_far_ms = np.partition(times, portion)[portion]
        end_ms = max(too_far_ms - 1, times.min())
        bounded: NDArray[np.int64] = np.maximum(before, np.minimum(watermark_ms, end_ms))
        bounded[before == NEVER] = watermark_ms[before == NEVER]
        return bounded

    def _tidy(self) -> None:
        """Set empty blocks aside and empty sparse ones, so that a few rows don't hold much."""
        blocks, self._blocks = self._blocks, []
        sparse: list[_Block] = []
        for block in blocks:
            is_last = block is blocks[-1]
            if block.waiting and (is_last or block.waiting * SPARSE >= block.capacity):
                self._blocks.append(block)
            else:
                sparse.append(block)
        for block in sparse:
            if block.waiting:
                rows, home = block.everything()
                order = _by_home(home, rows.ts_ms)
                self._room(len(rows)).append(rows, home if order is None else home[order], order)
            block.clear()
            reusable = block.capacity == BLOCK_ROWS and not block.shared
            if reusable and len(self._spare) < SPARE_BLOCKS:
                self._spare.append(block)

    def heads(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Per stretch its gateway row and its earliest event time."""
        if not self._blocks:
            return np.empty(0, np.int32), np.empty(0, np.int64)
        return (
            np.concatenate([block.home for block in self._blocks]),
            np.concatenate([block.heads() for block in self._blocks]),
        )

    def freeze(self) -> Callable[[], dict[str, Any]]:
        """For the snapshot: the waiting rows with their gateway, the late ones, and progress.

        What is returned packs them as they are now, later and in any thread: millions of rows
        take a second, and who decides can't wait for that.
        """
        views = [block.view() for block in self._blocks]
        late, came, progress_ms = list(self._late), self._came, self.progress_ms

        def state() -> dict[str, Any]:
            return {
                "waiting": [_packed(*view.rows()) for view in views],
                "late": pack_rows(TaggedBatch.join(late)),
                "came": came,
                "progress": progress_ms.astype("<i8").tobytes(),
            }

        return state

    def load(
        self,
        state: dict[str, Any],
        remap: NDArray[np.int32],
        quantities: NDArray[np.int16],
        gateway_rows: list[int],
        gateway_of: NDArray[np.int32],
    ) -> None:
        """remap, quantities: old row or index -> new one, -1 = gone; those rows are gone too.

        gateway_of: per device the gateway whose watermark its rows wait for from now on, -1 = as
        before.
        """
        self._clear()
        late, _ = _known(unpack_rows(state["late"]), remap, quantities)
        if len(late):
            self._late.append(late)
        row_of = np.array(gateway_rows, np.int32)
        for block in state["waiting"]:
            waiting, kept = _known(unpack_rows(block["rows"]), remap, quantities)
            if len(waiting):
                before = row_of[unpack_column(block["home"], np.int32)[kept]]
                now = gateway_of[waiting.device]
                self.push(waiting, np.where(now < 0, before, now))
        self._came = state["came"]
        told = np.frombuffer(state["progress"], "<i8")
        self.progress_ms = np.full(max(gateway_rows, default=-1) + 1, NEVER)
        self.progress_ms[gateway_rows[: len(told)]] = told


def _by_home(home: NDArray[np.int32], ts_ms: NDArray[np.int64]) -> NDArray[np.intp] | None:
    """The permutation into (home, ts); None when the rows already are."""
    first_ms, least = int(ts_ms.min()), int(home.min())
    ts_bits = (int(ts_ms.max()) - first_ms).bit_length()
    bits = ts_bits + (int(home.max()) - least).bit_length()
    if bits > 62:
        return np.lexsort((ts_ms, home))
    key = ts_ms - first_ms
    key |= (home - np.int64(least)) << ts_bits
    if bool((key[1:] >= key[:-1]).all()):
        return None
    return stable_order(key, bits)


def _packed(rows: TaggedBatch, home: NDArray[np.int32]) -> dict[str, Any]:
    return {"rows": pack_rows(rows), "home": pack_column(home)}


def _known(
    columns: dict[str, NDArray[Any]], remap: NDArray[np.int32], quantities: NDArray[np.int16]
) -> tuple[TaggedBatch, NDArray[np.intp]]:
    """The rows of devices and quantities that are still there, and which they are."""
    columns["device"] = remap[columns["device"]]
    columns["quantity"] = quantities[columns["quantity"]]
    kept = np.flatnonzero((columns["device"] >= 0) & (columns["quantity"] >= 0))
    rows = TaggedBatch(*columns.values())
    return rows if len(kept) == len(rows) else rows.take(kept), kept


def as_blocks(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of waiting rows as it was saved before columns were made small."""

    def rows(packed: Mapping[str, bytes]) -> dict[str, Any]:
        return {
            name: {"least": 0, "data": (np.dtype(dtype).newbyteorder("<").str, packed[name])}
            for name, dtype in TAGGED.items()
        }

    home = {"least": 0, "data": ("<i4", state["home"])}
    return {
        **state,
        "waiting": [{"rows": rows(state["waiting"]), "home": home}],
        "late": rows(state["late"]),
    }
