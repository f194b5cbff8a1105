"""All native messages of a call, decoded at once; most need no further look one by one.

A *plain* message has no fault at all: one device that is known to be who it says it is, values
that are finite, times that can be. Its rows are taken as columns over all plain messages. Every
other message goes the careful way through `Decoder` and `Judge`, which gives a plain one the
same rows; only by then the time of a hundred plain ones is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from contracts import senml, telemetry
from contracts.log import LogRecord, RecordKind
from contracts.rejects import Reject
from ingest.binding import Binding, Known, measurands
from ingest.judged import Judged
from ingest.limits import AdmissionSettings


class Natives:
    """The native messages among `records`.

    place: index of the record in the call -> the message's number. batch: their rows, those of
    message k are first[k]..first[k + 1]. origin: int32 per row, the number of its message.
    """

    def __init__(self, records: Sequence[LogRecord]) -> None:
        native = [
            index
            for index, record in enumerate(records)
            if record.kind is RecordKind.FOREIGN and not senml.is_senml(record.payload)
        ]
        self.place = {index: number for number, index in enumerate(native)}
        if not native:
            return
        self._records = [records[index] for index in native]
        self._index = np.array(native, np.int32)
        self.batch, self.origin, rejects = telemetry.decode_many(
            [record.payload for record in self._records]
        )
        self.first = np.searchsorted(self.origin, np.arange(len(native) + 1))
        self._rejects: dict[int, list[Reject]] = {}
        for number, reject in rejects:
            self._rejects.setdefault(number, []).append(reject)

    def rows(self, index: int) -> tuple[slice, list[Reject]]:
        """The rows of the record `index` and the refusals of its parts."""
        number = self.place[index]
        rows = slice(int(self.first[number]), int(self.first[number + 1]))
        return rows, self._rejects.get(number, [])

    def plain(self, binding: Binding, settings: AdmissionSettings) -> Judged | None:
        """The rows of the plain messages; None = there are none.

        `record` is an index into the call. Asks the binding without changing it, so that who
        is new is still met in log order.
        """
        if not self.place or not len(self.batch):
            return None
        chosen = self._known(self._timely(settings), binding)
        return self._columns(chosen) if chosen.number else None

    def _timely(self, settings: AdmissionSettings) -> list[int]:
        """The messages of one device whose values are finite and whose times are possible."""
        batch = self.batch
        full = np.flatnonzero(np.diff(self.first))
        start = self.first[full]
        latest_ms = np.array([record.accepted_ms for record in self._records], np.int64)
        latest_ms += settings.future_ms
        good = np.isfinite(batch.value) | np.isnan(batch.value)
        good &= (batch.ts_ms >= settings.floor_ms) & (batch.ts_ms <= latest_ms[self.origin])
        good &= batch.device == batch.device[self.first[self.origin]]
        numbers: list[int] = full[np.logical_and.reduceat(good, start)].tolist()
        return numbers

    def _known(self, numbers: list[int], binding: Binding) -> _Chosen:
        names, families = self.batch.devices, self.batch.families
        entries = self.batch.device[self.first[numbers]].tolist()
        chosen = _Chosen([], [])
        for number, entry in zip(numbers, entries, strict=True):
            source = self._records[number].source
            name = names[entry]
            known = binding.on_topic.get(source) if source else binding.in_recording.get(name)
            if (
                known is not None
                and known.name == name
                and known.family == families[entry]
                and number not in self._rejects
            ):
                chosen.number.append(number)
                chosen.known.append(known)
        return chosen

    def _columns(self, chosen: _Chosen) -> Judged:
        batch, origin = self.batch, self.origin
        device, home, flags = (
            np.array(column, dtype)
            for column, dtype in zip(
                zip(*((k.device, k.home, k.flags) for k in chosen.known), strict=True),
                (np.int32, np.int32, np.uint16),
                strict=True,
            )
        )
        nth = np.full(len(self._records), -1, np.int32)
        nth[chosen.number] = np.arange(len(chosen.number))
        which = nth[origin]
        rows = np.flatnonzero(which >= 0)
        which, origin = which[rows], origin[rows]
        quantity = measurands(batch.quantities).index[batch.quantity[rows]]
        return Judged(
            self._index[origin],
            device[which],
            quantity,
            batch.ts_ms[rows],
            batch.value[rows],
            batch.flags[rows] | flags[which],
            (rows - self.first[origin]).astype(np.int32),
            home[which],
        )


class _Chosen(NamedTuple):
    """Messages by number, and who speaks in each."""

    number: list[int]
    known: list[Known]
