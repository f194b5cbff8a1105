"""Windows over event time, and ages: derived at each usable reading, and whenever a reading
leaves a window.

One history serves all functions and windows on a quantity in one stream. Ticks are made in the
streams that are watched live; in history, time is what the readings say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILY_INDEX, QUANTITIES
from rules.derived.quiet import Quiet
from rules.derived.rows import Rows
from rules.derived.track import Fed, Track
from rules.entries import Entry
from rules.expr.window import Age, Window
from rules.instances import AFTER_ALL_MS
from rules.positions import true_at
from rules.sheet import PAST, UNSURE, Beside
from rules.watermarks import Watermarks


class Windows:
    """Implements `stage.Deriver`."""

    name = "windows"
    reads_derived = False

    def __init__(
        self, entries: tuple[Entry, ...], directory: DeviceDirectory, quiet: Quiet
    ) -> None:
        self._directory = directory
        by_quantity: dict[tuple[int, bool], list[Entry]] = {}
        for entry in entries:
            by_quantity.setdefault((entry.derived.base, entry.safety), []).append(entry)
        self._tracks: dict[tuple[int, str], Track] = {}
        self._families: dict[tuple[int, str], NDArray[np.bool_]] = {}
        for (quantity, safety), asked in sorted(by_quantity.items()):
            for stream in ("all",) if safety else ("live", "late"):
                track = Track(tuple(asked), directory, quiet, ticks=stream != "late")
                self._tracks[quantity, stream] = track
                names = {FAMILY_INDEX[name] for entry in asked for name in entry.families}
                self._families[quantity, stream] = np.isin(np.arange(128), sorted(names))
        self._looked_at = np.isin(np.arange(len(QUANTITIES)), sorted(self.asked()))

    @staticmethod
    def of(entries: tuple[Entry, ...], directory: DeviceDirectory, quiet: Quiet) -> Windows | None:
        mine = tuple(e for e in entries if isinstance(e.derived, Window | Age))
        return Windows(mine, directory, quiet) if mine else None

    def asked(self) -> set[int]:
        return {quantity for quantity, _ in self._tracks}

    def feed(
        self,
        batch: TaggedBatch,
        beside: Beside,
        watermarks: Watermarks,
        active: NDArray[np.int32],
    ) -> Rows | None:
        del beside
        at = true_at(self._looked_at.take(batch.quantity))
        quantity, family = batch.quantity[at], self._directory.family[batch.device[at]]
        flags = batch.flags[at]
        past = (flags & PAST) != 0
        # A bad reading is no evidence, in safety rules neither.
        usable = ~np.isnan(batch.value[at]) & ((flags & UNSURE) == 0)
        said, some_past = set(quantity.tolist()), bool(past.any())
        found = []
        for (number, stream), track in self._tracks.items():
            if number not in said or (stream == "late" and not some_past):
                found += track.feed(_NONE, watermarks, active)
                continue
            mine = usable & (quantity == number)
            if stream != "all" and some_past:
                mine &= past == (stream == "late")
            mine &= self._families[number, stream][family]
            rows, old = at[mine], past[mine]
            fed = Fed(batch.device[rows], batch.ts_ms[rows], batch.value[rows], rows, old)
            found += track.feed(fed, watermarks, active)
        return Rows.join(found) if found else None

    def next_ms(self) -> int | None:
        due = min((track.due_ms() for track in self._tracks.values()), default=AFTER_ALL_MS)
        return due if due < AFTER_ALL_MS else None

    def state(self) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        return {
            f"{QUANTITIES[quantity].name} {stream}": track.state()
            for (quantity, stream), track in self._tracks.items()
        }

    def load(self, kept: Mapping[str, Mapping[str, NDArray[Any]]], new_rows: Any) -> None:
        for (quantity, stream), track in self._tracks.items():
            columns = kept.get(f"{QUANTITIES[quantity].name} {stream}")
            if columns is not None:
                track.load(columns, new_rows(columns["device"]))

    def state_bytes(self) -> int:
        return sum(track.state_bytes() for track in self._tracks.values())

    def counts(self) -> Mapping[str, int]:
        return {
            "left_early": sum(track.left_early for track in self._tracks.values()),
            "misfits": sum(track.misfits for track in self._tracks.values()),
        }


_NONE = Fed(
    np.empty(0, np.int32),
    np.empty(0, np.int64),
    np.empty(0),
    np.empty(0, np.intp),
    np.empty(0, np.bool_),
)
