"""How surprising a silence is: the cumulative hazard of activity since the last one.

The model sees it minute by minute, for a living, well person at home, so that exp(-surprise) is the
probability of a silence this long. Only time is counted in which the home's sensors are known to
have worked.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.clock import DAY_MIN, MINUTE_MS, kind_of_day
from detectors.inactivity.features import features
from detectors.inactivity.learning import SHORTEST_MIN, Rows, note_end, note_time, silence_class
from detectors.inactivity.moves import Moves
from detectors.inactivity.presence import is_here
from detectors.inactivity.prior import Prior
from detectors.inactivity.state import Columns

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32[n, features] -> float32[n]: the probability of activity within `HORIZON_MIN`."""

HORIZON_MIN = 10.0
RATE_LEAST, RATE_MOST = 1e-5, 0.5
USUAL = math.log(20)
"""Surprise beyond which only one silence in 20 gets: up to there a silence is usual (proposal)."""
BLIND_MIN = 60.0
AGAIN_MS, AGAIN_MOST_MS = 10 * MINUTE_MS, 48 * 60 * MINUTE_MS
"""A silence is reckoned anew in steps so long, and not from longer ago than that: by then every
ceiling has been reached."""


class Silences:
    """infer: None = the home's own rates alone. seen, seen_rows: the model's input at the last
    tick, and of which homes."""

    def __init__(self, infer: Infer | None, prior: Prior) -> None:
        self._infer, self._prior = infer, prior
        self.seen: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self.seen_rows: Rows = np.empty(0, np.intp)

    def add(
        self, home: Columns, moves: Moves, proven: NDArray[np.int64], local: NDArray[np.int64]
    ) -> None:
        """Add the hazard of the time since the last look, and learn from it.

        proven: up to when the sensors worked. local: minutes of the local clock.
        """
        ended = moves.first_ms > 0
        end = np.where(ended, np.minimum(moves.first_ms, proven), proven)
        minutes = (end - home["since_ms"]) / MINUTE_MS
        inside = home["door_ms"] <= home["inside_ms"]
        rows = np.flatnonzero(
            is_here(home["state"]) & inside & (minutes >= SHORTEST_MIN) & (home["since_ms"] > 0)
            & ((end > home["upto_ms"]) | ended)
        )  # fmt: skip
        self.seen_rows = rows
        if not len(rows):
            return
        silence = silence_class(minutes[rows])
        from_ms = np.maximum(home["upto_ms"][rows], home["since_ms"][rows] + 5 * MINUTE_MS)
        dt = np.maximum(end[rows] - from_ms, 0) / MINUTE_MS
        now, day = local[rows] % DAY_MIN, kind_of_day(local[rows])
        rate, self.seen = self._rates(home, rows, day, now, silence, minutes[rows])
        _surprise(home, rows, rate, now, minutes[rows], dt)
        home["upto_ms"][rows] = np.maximum(end[rows], home["upto_ms"][rows])
        half_hour = (now // 30).astype(np.intp)
        note_time(home, rows, day, half_hour, silence, dt)
        over = ended[rows]
        note_end(home, rows[over], day[over], half_hour[over], silence[over])

    def again(
        self, home: Columns, rows: Rows, end: NDArray[np.int64], local: NDArray[np.int64],
        at_ms: int,
    ) -> None:  # fmt: skip
        """Reckon the surprise of these homes' silences anew, whose beginning has moved: what
        seemed to end them was nobody. Nothing is learnt from that.

        end, local: of these homes, until when, and minutes of the local clock at `at_ms`.
        """
        home["surprise"][rows] = 0.0
        home["usual"][rows] = 0.0
        since = home["since_ms"][rows]
        done = np.maximum(since + 5 * MINUTE_MS, at_ms - AGAIN_MOST_MS)
        inside = home["door_ms"][rows] <= home["inside_ms"][rows]
        end = np.where(inside & (since > 0), end, 0)
        while (live := done < end).any():
            which, upto = rows[live], np.minimum(done[live] + AGAIN_MS, end[live])
            then = local[live] - (at_ms - upto) // MINUTE_MS
            minutes = (upto - since[live]) / MINUTE_MS
            now, silence = then % DAY_MIN, silence_class(minutes)
            rate, _ = self._rates(home, which, kind_of_day(then), now, silence, minutes)
            _surprise(home, which, rate, now, minutes, (upto - done[live]) / MINUTE_MS)
            done[live] = upto
        home["upto_ms"][rows] = np.maximum(done, since)

    def _rates(
        self,
        home: Columns,
        rows: Rows,
        day: Rows,
        minute: NDArray[np.int64],
        silence: Rows,
        minutes: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Activity per minute that is expected now, and what the model was asked.

        What a sensor that talks and isn't believed would have shown isn't known: for all we know
        the whole home was silent for no longer than an hour, and only the others for longer. What
        they show is expected no more than it would be with all sensors there.
        """
        rate, found = self._asked(home, rows, day, minute, silence, minutes)
        share = home["cover"][rows, minute // 180]
        blind = np.flatnonzero((home["doubted"][rows] > 0) & (minutes > BLIND_MIN))
        if len(blind):
            hour = np.full(len(blind), BLIND_MIN)
            short, _ = self._asked(
                home, rows[blind], day[blind], minute[blind], silence_class(hour), hour
            )
            rate[blind] = np.maximum(rate[blind], np.minimum(short, rate[blind] / share[blind]))
        return rate, found

    def _asked(
        self,
        home: Columns,
        rows: Rows,
        day: Rows,
        minute: NDArray[np.int64],
        silence: Rows,
        minutes: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        found = features(
            home,
            rows,
            kind_of_day=day,
            minute=minute,
            silence=silence,
            minutes=minutes,
            prior=self._prior,
        )
        if self._infer is None:
            rate = np.exp(found[:, 1].astype(np.float64))
        else:
            p = np.minimum(self._infer(found).astype(np.float64), 0.9999)
            rate = -np.log1p(-p) / HORIZON_MIN
        return np.clip(rate, RATE_LEAST, RATE_MOST), found


def _surprise(
    home: Columns,
    rows: Rows,
    rate: NDArray[np.float64],
    minute: NDArray[np.int64],
    minutes: NDArray[np.float64],
    dt: NDArray[np.float64],
) -> None:
    """dt: minutes of silence that are added; minutes: all of it."""
    before = home["surprise"][rows]
    more = rate * dt * home["cover"][rows, minute // 180]
    home["surprise"][rows] = before + more
    passed = (before < USUAL) & (before + more >= USUAL)
    # Within the time since the last look the hazard is taken to be the same throughout.
    share = (USUAL - before[passed]) / more[passed]
    home["usual"][rows[passed]] = minutes[passed] - (1 - share) * dt[passed]
