"""Sensors that keep time like a machine: nobody lives by the second for an hour.

A contact that bounces, a motion sensor that faces a heater or a flag, a cistern that refills:
what they say comes at equal intervals, or faster than a hand can. A person's does not. Each
sensor carries a cumulative sum (Page 1954) of its intervals: +1 for one like one of the two before
it, -2 for another. A sum that stays high for an hour is a machine's, and what the sensor said
since the rhythm began shows nobody: who relied on it looks back (`lookback`).

Sensors that repeat themselves while somebody is there keep time as well, for as long as people
sit still. How long that was so before is each sensor's own custom, and is asked for first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.clock import HOUR_MS, MINUTE_MS
from detectors.inactivity.learning import Rows
from detectors.inactivity.state import Columns

ALIKE_PERCENT, ALIKE_MS = 10, 2_000
"""Two intervals are alike that differ by no more (proposals): a radio's delays, a cheap clock."""
FAST_MS = 5_000
"""Faster than that again and again no hand and no step is (proposal)."""
PAUSE_MS, PAUSE_FACTOR = HOUR_MS, 4
"""A rhythm ends in a pause of an hour, or of so many of its intervals (proposals)."""
UNLIKE = 2
"""What an interval unlike those before takes off: below two alike in three the sum falls."""
MACHINE, MOST = 12, 24
"""The sum of a machine, and where it is capped, so that an end is noticed (proposals)."""
LEAST_MS = HOUR_MS
"""A rhythm is believed to be a person's for so long. Looking back, that delays hardly anything."""
CUSTOM_NUM, CUSTOM_DEN, CUSTOM_MOST_MS = 5, 4, 6 * HOUR_MS
"""A quarter longer than the longest that ended is still custom; one of more hours than that never
becomes one (proposals)."""
CUSTOM_SHIFT = 5
CALM_MS = 2 * HOUR_MS
"""So long after the rhythm a sensor is believed again (proposal)."""
PROOFS = 3
_RESET = 100_000
_FAR = 1 << 40


def note(
    sensor: Columns,
    who: NDArray[np.int32],
    ts: NDArray[np.int64],
    *,
    good: NDArray[np.bool_],
    shown_ms: NDArray[np.int64],
) -> Rows:
    """Take in what sensors saw in a tick, and give those that now are a machine's, once.

    who, ts: activations in order of (sensor, ts). good: bool[sensor], believed until now.
    shown_ms: int64[sensor], when somebody was last seen in its home by any that is believed. Rows
    older than what is known of a sensor say nothing about its rhythm.
    """
    use = ts > sensor["act_ms"][who]
    use[1:] &= (who[1:] != who[:-1]) | (ts[1:] != ts[:-1])
    who, ts = who[use], ts[use]
    if not len(who):
        return np.empty(0, np.intp)
    head = np.flatnonzero(np.diff(who, prepend=-1))
    tail = np.flatnonzero(np.diff(who, append=-1))
    one = who[head].astype(np.intp)
    place = np.repeat(np.arange(len(head)), tail - head + 1)
    nth = np.arange(len(who)) - head[place]
    step = np.diff(ts, prepend=0)
    known = sensor["act_ms"][one] > 0
    step[head] = np.where(known, ts[head] - sensor["act_ms"][one], _FAR)
    before, earlier = _before(step, nth, sensor["steps"][who])
    score = _sums(_gains(step, before, earlier), place, head, sensor["beats"][one])
    _note_spans(sensor, one, ts, score, head, shown_ms[one])
    _note_proofs(sensor, one, ts, score, head, tail, good[one])
    sensor["act_ms"][one] = ts[tail]
    sensor["steps"][one] = np.column_stack([step[tail], before[tail]])
    sensor["beats"][one] = np.minimum(score[tail], MOST)
    return _found(sensor, one, good[one])


def _before(
    step: NDArray[np.int64], nth: Rows, kept: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The interval before each, and the one before that. kept: the last two of earlier ticks."""
    last, second = np.concatenate([[0], step[:-1]]), np.concatenate([[0, 0], step])[: len(step)]
    before = np.where(nth >= 1, last, kept[:, 0])
    earlier = np.where(nth >= 2, second, np.where(nth == 1, kept[:, 0], kept[:, 1]))
    return before, earlier


def _gains(
    step: NDArray[np.int64], before: NDArray[np.int64], earlier: NDArray[np.int64]
) -> NDArray[np.int64]:
    alike = _alike(step, before) | _alike(step, earlier) | (step <= FAST_MS)
    pause = (step > PAUSE_MS) | ((step > PAUSE_FACTOR * before) & (step > 5 * MINUTE_MS))
    return np.where(pause & ~alike, -_RESET, np.where(alike & (step <= PAUSE_MS), 1, -UNLIKE))


def _alike(step: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
    tolerance = np.maximum(ALIKE_MS, other * ALIKE_PERCENT // 100)
    return np.asarray((other > 0) & (np.abs(step - other) <= tolerance))


def _sums(
    gain: NDArray[np.int64], place: Rows, head: Rows, begin: NDArray[np.int64]
) -> NDArray[np.int64]:
    """max(0, sum so far + gain), row by row and sensor by sensor, without a loop.

    That is the plain sum less its least value below 0 so far. The offset falls from sensor to
    sensor by more than any sum, so that the running least of one never reaches into the next.
    """
    total = np.cumsum(gain)
    plain = total - (total[head] - gain[head])[place] + begin.astype(np.int64)[place]
    apart = place * (2 * _RESET * (len(gain) + MOST))
    least = np.minimum.accumulate(plain - apart) + apart
    return np.asarray(plain - np.minimum(least, 0))


def _last_where(mask: NDArray[np.bool_], head: Rows) -> Rows:
    """The last row of each sensor at which it holds; -1 = none."""
    at = np.where(mask, np.arange(len(mask)), -1)
    return np.asarray(np.maximum.reduceat(at, head))


def _note_spans(
    sensor: Columns,
    one: Rows,
    ts: NDArray[np.int64],
    score: NDArray[np.int64],
    head: Rows,
    shown_ms: NDArray[np.int64],
) -> None:
    """Since when a rhythm goes on, until when it was a full one, and which custom that makes: none
    where nobody was seen any more when it was over."""
    zero, full = _last_where(score == 0, head), _last_where(score >= MACHINE, head)
    ended = zero >= 0
    over = one[ended]
    length = sensor["full_ms"][over] - sensor["rhythm_ms"][over]
    length[(length > CUSTOM_MOST_MS) | (shown_ms[ended] <= sensor["full_ms"][over])] = 0
    sensor["custom_ms"][over] = np.maximum(sensor["custom_ms"][over], length)
    sensor["rhythm_ms"][over] = ts[zero[ended]]
    sensor["full_ms"][over] = 0
    held = full > zero
    sensor["full_ms"][one[held]] = ts[full[held]]


def _note_proofs(
    sensor: Columns, one: Rows, ts: NDArray[np.int64], score: NDArray[np.int64], head: Rows,
    tail: Rows, good: NDArray[np.bool_],
) -> None:  # fmt: skip
    """The last that was believed, and the last before the present rhythm: one of two intervals in
    turn looks like anything for its first three beats."""
    zero = _last_where(score == 0, head)
    kept = sensor["proof_ms"][one]
    fresh = good & (zero >= 0)
    sensor["held_ms"][one[fresh]] = _back(ts, zero - head, head, kept, PROOFS)[fresh]
    last = tail - head
    newest = np.column_stack([_back(ts, last, head, kept, k) for k in range(PROOFS)])
    sensor["proof_ms"][one[good]] = newest[good]


def _back(
    ts: NDArray[np.int64], nth: Rows, head: Rows, kept: NDArray[np.int64], steps: int
) -> NDArray[np.int64]:
    """So many activations before the nth of this tick. kept: those before it, newest first."""
    at = nth - steps
    old = np.clip(-at - 1, 0, kept.shape[1] - 1)
    return np.where(at >= 0, ts[head + np.maximum(at, 0)], kept[np.arange(len(kept)), old])


def _found(sensor: Columns, one: Rows, good: NDArray[np.bool_]) -> Rows:
    """Those that are a machine's now and were believed until now."""
    span = sensor["full_ms"][one] - sensor["rhythm_ms"][one]
    most = np.maximum(LEAST_MS, sensor["custom_ms"][one] * CUSTOM_NUM // CUSTOM_DEN)
    mad = (sensor["beats"][one] >= MACHINE) & (span >= most)
    sensor["mad_ms"][one[mad]] = sensor["full_ms"][one[mad]]
    return np.asarray(one[mad & good])


def keeps_time(sensor: Columns, sensors: Rows, now_ms: int) -> NDArray[np.bool_]:
    """Those whose rhythm was a machine's, until it has been over for long enough."""
    mad_ms = sensor["mad_ms"][sensors]
    return np.asarray((mad_ms > 0) & (now_ms - mad_ms < CALM_MS))


def age_customs(sensor: Columns, sensors: Rows) -> None:
    """A day later."""
    sensor["custom_ms"][sensors] -= sensor["custom_ms"][sensors] >> CUSTOM_SHIFT
