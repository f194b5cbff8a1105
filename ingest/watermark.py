"""Watermarks: up to which event time a gateway's readings are taken to be complete.

Per gateway of the directory:

* After each record, the watermark is at least the greatest event time that the record brought
  for the gateway's own devices, but no more than the record's `accepted_ms`, minus `slack_ms`. So
  a device whose clock runs ahead can't make its neighbours late. Rows that somebody else said,
  that have no trusted time, or that ingest added itself don't count.
* At a mark M, a gateway whose watermark no record moved for `idle_ms` (it is silent, or its
  clock stands still) gets at least `M.accepted_ms - idle_ms - slack_ms`. A gateway heard for the
  first time starts with what the last mark gave to quiet ones.
* It never moves back.

A row is late when its time is at or before the watermark as the records and marks before its
own record left it: `Progress` has told the rules that nothing more comes up to there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.limits import AdmissionSettings

SENDING_MS = 60_000
"""A gateway counts as sending for so long after its watermark moved (proposal)."""

NEVER = -(1 << 62)
"""The watermark of a gateway of which nothing is known yet."""


@dataclass(frozen=True, slots=True)
class TimedRows:
    """Accepted rows of a call, in log order.

    first: int64[records + 1], rows first[r]..first[r + 1] are record r's. accepted_ms, speaker:
    per record. ts_ms, home (int32 gateway rows): per row. counts_time: bool per row, None: all
    count and each row's home is its record's speaker.
    """

    first: NDArray[np.int64]
    accepted_ms: list[int]
    speaker: list[int]
    ts_ms: NDArray[np.int64]
    home: NDArray[np.int32]
    counts_time: NDArray[np.bool_] | None

    def part(self, record: int) -> slice:
        """The rows of a record."""
        return slice(int(self.first[record]), int(self.first[record + 1]))


class Watermarks:
    """int64 per gateway row: the watermark, and when a record last moved it."""

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self.at_ms = np.empty(0, np.int64)
        self.moved_ms = np.empty(0, np.int64)
        self._quiet_ms = NEVER

    def grow(self, gateways: int) -> None:
        """Make room for gateways that the directory has got; they have been quiet until now."""
        missing = gateways - len(self.at_ms)
        if missing > 0:
            self.at_ms = np.concatenate([self.at_ms, np.full(missing, self._quiet_ms)])
            self.moved_ms = np.concatenate([self.moved_ms, np.full(missing, NEVER)])

    def pass_rows(self, rows: TimedRows) -> NDArray[np.bool_] | None:
        """Move on record by record; returns which rows were late, None = none."""
        if not len(rows.ts_ms):
            return None
        odd = _odd_records(rows)
        full = np.flatnonzero(np.diff(rows.first))
        start = rows.first[full]
        least = np.minimum.reduceat(rows.ts_ms, start).tolist()
        greatest = np.maximum.reduceat(rows.ts_ms, start).tolist()
        late = np.zeros(len(rows.ts_ms), np.bool_)
        slack_ms = self._settings.slack_ms
        for record, low, high in zip(full.tolist(), least, greatest, strict=True):
            if record in odd:
                self._pass_odd(rows, record, late)
                continue
            gateway, accepted_ms = rows.speaker[record], rows.accepted_ms[record]
            at_ms = int(self.at_ms[gateway])
            if low <= at_ms:
                part = rows.part(record)
                late[part] = rows.ts_ms[part] <= at_ms
            reached_ms = min(high, accepted_ms) - slack_ms
            if reached_ms > at_ms:
                self.at_ms[gateway] = reached_ms
                self.moved_ms[gateway] = accepted_ms
        return late if late.any() else None

    def _pass_odd(self, rows: TimedRows, record: int, late: NDArray[np.bool_]) -> None:
        """The same for a record whose rows may belong to several gateways or not count."""
        part, accepted_ms = rows.part(record), rows.accepted_ms[record]
        ts, home = rows.ts_ms[part], rows.home[part]
        late[part] = ts <= self.at_ms[home]
        if rows.counts_time is not None:
            counted = rows.counts_time[part]
            ts, home = ts[counted], home[counted]
        gateways = np.unique(home)
        before = self.at_ms[gateways]
        reached_ms = np.minimum(ts, accepted_ms) - self._settings.slack_ms
        np.maximum.at(self.at_ms, home, reached_ms)
        self.moved_ms[gateways[self.at_ms[gateways] > before]] = accepted_ms

    def pass_mark(self, accepted_ms: int) -> None:
        """Move quiet gateways on."""
        idle_ms = self._settings.idle_ms
        quiet = accepted_ms - self.moved_ms >= idle_ms
        self._quiet_ms = max(self._quiet_ms, accepted_ms - idle_ms - self._settings.slack_ms)
        np.maximum(self.at_ms, self._quiet_ms, out=self.at_ms, where=quiet)

    def due_ms(self, home: NDArray[np.int32], ts_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """When, at the earliest, a mark alone makes the watermark of `home` reach `ts_ms`."""
        idle_ms = self._settings.idle_ms
        due = np.maximum(self.moved_ms[home] + idle_ms, ts_ms + idle_ms + self._settings.slack_ms)
        return np.where(ts_ms <= self.at_ms[home], NEVER, due)

    def lag_ms(self, now_ms: int) -> int:
        """The lag of the slowest gateway that is sending; 0 when none is."""
        sending = self.at_ms[now_ms - self.moved_ms < SENDING_MS]
        return max(0, now_ms - int(sending.min())) if len(sending) else 0

    def state(self, gateways: int) -> dict[str, Any]:
        self.grow(gateways)
        return {
            "quiet": self._quiet_ms,
            "at": self.at_ms[:gateways].astype("<i8").tobytes(),
            "moved": self.moved_ms[:gateways].astype("<i8").tobytes(),
        }

    def load(self, state: dict[str, Any], gateway_rows: list[int], gateways: int) -> None:
        """gateway_rows[old row] = the gateway's row in a directory of `gateways` gateways."""
        self._quiet_ms = state["quiet"]
        self.at_ms = np.full(gateways, self._quiet_ms, np.int64)
        self.moved_ms = np.full(gateways, NEVER, np.int64)
        self.at_ms[gateway_rows] = np.frombuffer(state["at"], "<i8")
        self.moved_ms[gateway_rows] = np.frombuffer(state["moved"], "<i8")


def _odd_records(rows: TimedRows) -> set[int]:
    """Records with a row that doesn't count or isn't of the speaker's own."""
    if rows.counts_time is None:
        return set()
    speaker = np.repeat(np.array(rows.speaker, np.int32), np.diff(rows.first))
    odd = np.flatnonzero(~rows.counts_time | (rows.home != speaker))
    return set((np.searchsorted(rows.first, odd, side="right") - 1).tolist())
