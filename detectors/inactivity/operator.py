"""The detector: rows of home sensors in, scores of homes out.

Time moves in ticks of whole minutes of event time. Rows wait for the tick that follows them, so
nothing depends on how they were cut into calls, and a tick sees nothing later than itself. A row
that comes after its tick (a backlog) is taken at the next one: it moves the home's last activity,
and nothing is scored or learnt in hindsight.

A silence is scored by its **surprise**: the cumulative hazard of activity since the last one, as
the model sees it minute by minute (for a living, well person at home), so that exp(-surprise) is
the probability of a silence this long. Only time is counted in which the home's sensors are known
to have worked: with heartbeats, up to the last one. So an outage can't become an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity import health
from detectors.inactivity.features import features
from detectors.inactivity.layout import Kind, Layout, Role, Room
from detectors.inactivity.learning import (
    SHORTEST_MIN,
    Rows,
    end_day,
    first_level,
    note_end,
    note_time,
    per_month,
    silence_class,
)
from detectors.inactivity.prior import Prior
from detectors.inactivity.state import SENSOR_UNIT, UNIT, State, sensor_mask

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32[n, features] -> float32[n]: the probability of activity within `HORIZON_MIN`."""

HORIZON_MIN = 10.0
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MIN = 1440

GRACE_MS = 90_000
"""Motion so soon after the front door may be of the one who leaves (proposal)."""
SETTLED_MS = 10 * MINUTE_MS
"""Nobody seen for so long after the front door: the home is empty (proposal)."""
OUTAGE_FACTOR, OUTAGE_LEAST_MS, OUTAGE_MOST_MS = 2.0, 30 * MINUTE_MS, 6 * HOUR_MS
"""A pause of this many usual pauses is an outage (proposal)."""
HEARTS = 24
"""Heartbeats after which a home is one that has heartbeats (proposal)."""
BLIND_MS = 24 * HOUR_MS
"""A home without heartbeats that says nothing for so long may as well be cut off."""
BASE_FACTOR, BASE_M3 = 1.5, 0.0002
ALL_HOURS = (1 << 24) - 1
"""Water up to so much more than the least of a day and the day before it is base flow, where the
meter speaks in every hour: a leak, a tap that drips (the factor is a proposal; use around the clock
as the sign of a leak is the practice of Shenzhen Longgang)."""
POWER_W = 30.0
"""Somebody switched something (proposal)."""
RATE_LEAST, RATE_MOST = 1e-5, 0.5
KEPT_MONTHLY = 1.0
"""Silences so rare in 30 days outlast an outage: lost data clears no alarm."""
USUAL = math.log(20)
"""Surprise beyond which only one silence in 20 gets: up to there a silence is usual (proposal)."""
NIGHT = (21 * 60, 9 * 60)
ASLEEP_MIN = 20.0


class HomeState(IntEnum):
    """The values of `home.state`."""

    UNKNOWN = 0
    HOME = 1
    AWAY = 2
    ASLEEP = 3


# An attribute of an enumeration costs more than the comparison of a small array.
_UNKNOWN, _HOME, _AWAY, _ASLEEP = (int(one) for one in HomeState)
_MOTION, _CONTACT, _PRESSURE, _WATER, _POWER, _HELP, _METER, _HEARTBEAT, _LINK = (
    int(kind) for kind in Kind
)
_FRONT_DOOR, _BEDROOM, _MOVED = int(Role.FRONT_DOOR), int(Room.BEDROOM), int(health.Trust.MOVED)


@dataclass(frozen=True, slots=True)
class Scores:
    """All homes after one tick; row i is home i.

    p: float64, probability of a silence this long. monthly: float64, how many silences like this
    30 days of this home would hold. minutes: float64, of silence that counts (in `AWAY` and
    `UNKNOWN`: since it began). usual: float64, minutes within which 19 of 20 silences that begin
    as this one did have ended; of one that isn't longer yet, `minutes`. state: uint8, `HomeState`.
    dry: float64 minutes without water, NaN = no water meter. hearts: bool, heartbeats prove that
    the sensors work.
    """

    at_ms: int
    p: NDArray[np.float64]
    monthly: NDArray[np.float64]
    minutes: NDArray[np.float64]
    usual: NDArray[np.float64]
    state: NDArray[np.uint8]
    dry: NDArray[np.float64]
    hearts: NDArray[np.bool_]


class InactivityOperator:
    """See the top of this module. infer: None = the home's own rates alone, to build a model."""

    def __init__(
        self, layout: Layout, infer: Infer | None, prior: Prior, *, step_min: int = 1
    ) -> None:
        self.layout, self._infer, self._prior = layout, infer, prior
        self.step_min = step_min
        self._step_ms = step_min * MINUTE_MS
        self.state = State(layout)
        self._person = sensor_mask(layout)
        homes = len(layout.homes)
        doors = layout.home[layout.role == _FRONT_DOOR]
        self._has_door = np.minimum(np.bincount(doors, minlength=homes), 1).astype(np.intp)
        self._new_homes()
        self._row = np.arange(homes)
        self._has_water = np.bincount(
            layout.home[np.isin(layout.kind, (_WATER, _METER)) & self._person], minlength=homes
        ).astype(bool)
        persons = np.flatnonzero(self._person)
        self._persons = persons[np.argsort(layout.home[persons], kind="stable")]
        self._person_home = layout.home[self._persons]
        self._offsets: dict[int, NDArray[np.int64]] = {}
        self.seen: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self.seen_rows: Rows = np.empty(0, np.intp)

    def _new_homes(self) -> None:
        self.state.home["level"][:] = first_level(self._prior, self._has_door)

    # Rows and time

    def feed(
        self, sensor: NDArray[np.int32], ts_ms: NDArray[np.int64], value: NDArray[np.float64]
    ) -> None:
        """Rows in the order in which they were accepted; any order of time. NaN values are none."""
        known = ~np.isnan(value)
        if not known.all():
            sensor, ts_ms, value = sensor[known], ts_ms[known], value[known]
        if not len(sensor):
            return
        old = self.state.pending
        self.state.pending = (
            np.concatenate([old[0], sensor.astype(np.int32)]),
            np.concatenate([old[1], ts_ms.astype(np.int64)]),
            np.concatenate([old[2], value.astype(np.float64)]),
        )

    def next_ms(self) -> int | None:
        """The next tick; None before the first row."""
        if self.state.tick_ms:
            return self.state.tick_ms + self._step_ms
        ts = self.state.pending[1]
        return self._boundary(int(ts.min())) if len(ts) else None

    def _boundary(self, ts_ms: int) -> int:
        return -(-ts_ms // self._step_ms) * self._step_ms

    def skip(self, to_ms: int) -> None:
        """Go on, or begin, behind the tick at or before `to_ms`, without those until then."""
        self.state.tick_ms = max(self.state.tick_ms, to_ms // self._step_ms * self._step_ms)

    def advance(self, until_ms: int) -> list[Scores]:
        """All ticks up to `until_ms`, each with its scores."""
        found = []
        while (at := self.next_ms()) is not None and at <= until_ms:
            found.append(self.tick(at))
        return found

    def tick(self, at_ms: int) -> Scores:
        """The tick at `at_ms`, which must be `next_ms()`: rows up to it, then the scores."""
        home = self.state.home
        rows = self._due(at_ms)
        self.state.tick_ms = at_ms
        local = self._local_minutes(at_ms)
        minute, kind_of_day = local % DAY_MIN, (local // DAY_MIN + 3) % 7 >= 5
        moves = self._moves(rows, at_ms, (minute // 180).astype(np.intp))
        self._resume(moves)
        proven = self._proven(at_ms)
        self._accumulate(moves, proven, minute, kind_of_day.astype(np.intp))
        self._act(moves, (minute // 180).astype(np.intp))
        home["state"][:] = self._states(at_ms, minute)
        self._housekeeping(at_ms)
        return self._scores(at_ms, proven)

    def _due(self, at_ms: int) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
        sensor, ts, value = self.state.pending
        if not len(ts):
            return sensor, ts, value
        now = ts <= at_ms
        if not now.all():
            later = ~now
            self.state.pending = sensor[later], ts[later], value[later]
            sensor, ts, value = sensor[now], ts[now], value[now]
        else:
            self.state.pending = sensor[:0], ts[:0], value[:0]
        order = np.lexsort((ts, sensor))
        return sensor[order], ts[order], value[order]

    def _local_minutes(self, at_ms: int) -> NDArray[np.int64]:
        """int64 a home: minutes of the local clock since 1970."""
        quarter = at_ms // (15 * MINUTE_MS)
        shift = self._offsets.get(quarter)
        if shift is None:
            at = datetime.fromtimestamp(quarter * 900, UTC)
            found = [at.astimezone(zone).utcoffset() for zone in self.layout.zones]
            minutes = [0 if one is None else int(one.total_seconds()) // 60 for one in found]
            shift = np.array([*minutes, 0], np.int64)[self.layout.zone]
            self._offsets = {quarter: shift}
        return at_ms // MINUTE_MS + shift

    # What happened since the last tick

    def _moves(
        self,
        rows: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]],
        at_ms: int,
        part: Rows,
    ) -> _Moves:
        sensor, ts, value = rows
        moves = _Moves.none(len(self.layout.homes))
        if not len(sensor):
            return moves
        columns, layout = self.state.sensor, self.layout
        home = layout.home[sensor]
        kind = layout.kind[sensor]
        head = np.flatnonzero(np.diff(sensor, prepend=-1))
        before = np.concatenate([[np.nan], value[:-1]])
        before[head] = columns["value"][sensor[head]]
        active = is_active(kind, value, before)
        self._leave_out_base_flow(sensor, kind, ts, value, active)
        moves.note_rows(home, kind, ts, value, active)
        trusted = health.believed(columns["trust"][sensor])
        inside = active & self._person[sensor] & trusted
        door = active & (layout.role[sensor] == _FRONT_DOOR)
        room = np.where(columns["trust"][sensor] == _MOVED, 0, layout.room[sensor])
        moves.note_inside(home[inside], ts[inside], room[inside])
        np.maximum.at(moves.door_ms, home[door], ts[door])
        # What came late ends no silence in hindsight.
        first = (inside | door) & (ts > at_ms - self._step_ms)
        _least(moves.first_ms, home[first], ts[first])
        wet = inside & ((kind == _WATER) | (kind == _METER))
        np.maximum.at(moves.water_ms, home[wet], ts[wet])
        bed = kind == _PRESSURE
        self.state.home["loaded"][home[bed]] = value[bed] > 0
        self._note_sensors(sensor, ts, value, active, part)
        return moves

    def _leave_out_base_flow(
        self,
        sensor: NDArray[np.int32],
        kind: NDArray[np.uint8],
        ts: NDArray[np.int64],
        value: NDArray[np.float64],
        active: NDArray[np.bool_],
    ) -> None:
        """A tap that drips shows nobody: what a meter never falls below isn't a person's doing."""
        row = np.flatnonzero(kind == _METER)
        if not len(row):
            return
        columns, meter = self.state.sensor, sensor[row]
        base = np.fmin(columns["least"][meter], columns["least_before"][meter])
        # One that tells only of use is silent at night: its least reading is a use.
        flows = (base > 0) & (columns["hours_before"][meter] == ALL_HOURS)
        active[row] &= ~(flows & (value[row] <= BASE_FACTOR * base + BASE_M3))
        np.fmin.at(columns["least"], meter, value[row])
        hour = (ts[row] // HOUR_MS % 24).astype(np.uint32)
        np.bitwise_or.at(columns["hours"], meter, np.uint32(1) << hour)

    def _note_sensors(
        self,
        sensor: NDArray[np.int32],
        ts: NDArray[np.int64],
        value: NDArray[np.float64],
        active: NDArray[np.bool_],
        part: Rows,
    ) -> None:
        columns, home = self.state.sensor, self.state.home
        last = np.flatnonzero(np.diff(sensor, append=-1))
        which = sensor[last]
        columns["value"][which] = value[last]
        columns["row_ms"][which] = np.maximum(columns["row_ms"][which], ts[last])
        columns["acts_then"][which] = home["acts"][self.layout.home[which]] + 1
        acting = np.unique(sensor[active & self._person[sensor]])
        if not len(acting):
            return
        good = health.believed(columns["trust"][acting])
        owner = self.layout.home[acting]
        at = part[owner]
        others = np.bincount(owner[good], minlength=len(self.layout.homes))[owner] - good
        alone = others == 0
        columns["hour"][acting[alone]] += np.uint16(1)
        # What a mad sensor sees is no habit of the home.
        for name in ("seen", "lately"):
            _add(columns[name], acting[good], at[good])
        _add(columns["alone"], acting[alone & good], at[alone & good])

    def _resume(self, moves: _Moves) -> None:
        """Heartbeats and links: learn the usual pause, and begin anew behind an outage."""
        home = self.state.home
        home["hearts"][:] = np.minimum(home["hearts"] + moves.hearts, HEARTS)
        came = np.flatnonzero(moves.row_max > 0)
        gap = moves.row_min[came] - home["heard_ms"][came]
        known = home["heard_ms"][came] > 0
        out = known & (gap > self._outage_ms(came)) & (home["hearts"][came] >= HEARTS)
        usual = home["gap_ms"][came]
        fed = known & ~out & (gap > 0)
        home["gap_ms"][came] = np.where(fed, np.maximum(gap, usual - (usual >> 10)), usual)
        back = came[out | ~known]
        self._begin(back, moves.row_min[back])
        up = np.flatnonzero((moves.up_ms > 0) & ((home["down_ms"] > 0) | (moves.down_ms > 0)))
        self._begin(up, moves.up_ms[up])
        home["down_ms"][up] = 0
        down = np.flatnonzero(moves.down_ms > moves.up_ms)
        home["down_ms"][down] = moves.down_ms[down]
        home["heard_ms"][:] = np.maximum(home["heard_ms"], moves.row_max)

    def _begin(self, rows: Rows, ts: NDArray[np.int64]) -> None:
        """What was before isn't known: the silence counts from here.

        One that was alarming already goes on being so: nobody has been seen since.
        """
        home = self.state.home
        alarming = per_month(home["surprise"][rows], home["level"][rows]) <= KEPT_MONTHLY
        alarming |= home["heard_ms"][rows] - home["since_ms"][rows] >= BLIND_MS
        alarming &= home["since_ms"][rows] > 0
        home["upto_ms"][rows] = np.maximum(home["upto_ms"][rows], ts)
        rows, ts = rows[~alarming], ts[~alarming]
        home["since_ms"][rows] = np.maximum(home["since_ms"][rows], ts)
        home["surprise"][rows] = 0.0
        home["usual"][rows] = 0.0

    def _outage_ms(self, rows: Rows | slice) -> NDArray[np.float64]:
        usual = self.state.home["gap_ms"][rows] * OUTAGE_FACTOR
        return np.clip(usual, OUTAGE_LEAST_MS, OUTAGE_MOST_MS)

    def _proven(self, at_ms: int) -> NDArray[np.int64]:
        """Up to when the sensors of each home are known to have worked."""
        home = self.state.home
        proven = np.where(home["hearts"] >= HEARTS, home["heard_ms"], at_ms)
        down = home["down_ms"]
        return np.where(down > 0, np.minimum(proven, down), proven)

    def _accumulate(
        self, moves: _Moves, proven: NDArray[np.int64], minute: NDArray[np.int64], days: Rows
    ) -> None:
        """Add the hazard of the time since the last look, and learn from it."""
        home = self.state.home
        state = home["state"]
        ended = moves.first_ms > 0
        end = np.where(ended, np.minimum(moves.first_ms, proven), proven)
        minutes = (end - home["since_ms"]) / MINUTE_MS
        here = (state == _HOME) | (state == _ASLEEP)
        inside = home["door_ms"] <= home["inside_ms"]
        rows = np.flatnonzero(
            here & inside & (minutes >= SHORTEST_MIN) & (home["since_ms"] > 0)
            & ((end > home["upto_ms"]) | ended)
        )  # fmt: skip
        self.seen_rows = rows
        if not len(rows):
            return
        silence = silence_class(minutes[rows])
        from_ms = np.maximum(home["upto_ms"][rows], home["since_ms"][rows] + 5 * MINUTE_MS)
        dt = np.maximum(end[rows] - from_ms, 0) / MINUTE_MS
        day = days[rows]
        half_hour = (minute[rows] // 30).astype(np.intp)
        rate = self._rates(rows, day, minute[rows], silence, minutes[rows])
        before = home["surprise"][rows]
        more = rate * dt * home["cover"][rows, minute[rows] // 180]
        home["surprise"][rows] = before + more
        passed = (before < USUAL) & (before + more >= USUAL)
        # Within the time since the last look the hazard is taken to be the same throughout.
        share = (USUAL - before[passed]) / more[passed]
        home["usual"][rows[passed]] = minutes[rows[passed]] - (1 - share) * dt[passed]
        home["upto_ms"][rows] = np.maximum(end[rows], home["upto_ms"][rows])
        note_time(home, rows, day, half_hour, silence, dt)
        over = ended[rows]
        note_end(home, rows[over], day[over], half_hour[over], silence[over])

    def _rates(
        self,
        rows: Rows,
        day: Rows,
        minute: NDArray[np.int64],
        silence: Rows,
        minutes: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Activity per minute that is expected now."""
        found = features(
            self.state.home,
            rows,
            kind_of_day=day,
            minute=minute,
            silence=silence,
            minutes=minutes,
            prior=self._prior,
        )
        self.seen = found
        if self._infer is None:
            rate = np.exp(found[:, 1].astype(np.float64))
        else:
            p = np.minimum(self._infer(found).astype(np.float64), 0.9999)
            rate = -np.log1p(-p) / HORIZON_MIN
        return np.clip(rate, RATE_LEAST, RATE_MOST)

    def _act(self, moves: _Moves, part: Rows) -> None:
        """Activity ends a silence and begins the next."""
        home = self.state.home
        home["water_ms"][:] = np.maximum(home["water_ms"], moves.water_ms)
        home["recent"] *= 0.5 ** (self.step_min / DAY_MIN * 2)
        newer = np.flatnonzero(moves.inside_ms > home["inside_ms"])
        home["inside_ms"][newer] = moves.inside_ms[newer]
        home["room"][newer] = moves.room[newer]
        home["recent"][newer] += 1.0
        home["acts"][newer] += 1
        home["active"][newer, part[newer]] += np.uint32(UNIT)
        door = np.flatnonzero(moves.door_ms > home["door_ms"])
        home["door_ms"][door] = moves.door_ms[door]
        last = np.maximum(moves.inside_ms, moves.door_ms)
        acted = np.flatnonzero(last > home["since_ms"])
        home["since_ms"][acted] = last[acted]
        home["upto_ms"][acted] = last[acted]
        home["surprise"][acted] = 0.0
        home["usual"][acted] = 0.0

    # What it means

    def _states(self, at_ms: int, minute: NDArray[np.int64]) -> NDArray[np.uint8]:
        home = self.state.home
        out = np.where(
            home["hearts"] >= HEARTS,
            at_ms - home["heard_ms"] > self._outage_ms(slice(None)),
            at_ms - home["heard_ms"] > BLIND_MS,
        )
        never = home["heard_ms"] == 0
        after_door = home["inside_ms"] <= home["door_ms"] + GRACE_MS
        away = (home["door_ms"] > 0) & after_door & (at_ms - home["door_ms"] >= SETTLED_MS)
        night = (minute >= NIGHT[0]) | (minute < NIGHT[1])
        still = at_ms - home["since_ms"] >= ASLEEP_MIN * MINUTE_MS
        asleep = still & ((home["loaded"] > 0) | (night & (home["room"] == _BEDROOM)))
        state = np.where(asleep, _ASLEEP, _HOME)
        state = np.where(away, _AWAY, state)
        unknown = never | (home["down_ms"] > 0) | (out & ~(away & (home["hearts"] < HEARTS)))
        return np.where(unknown, _UNKNOWN, state).astype(np.uint8)

    def _housekeeping(self, at_ms: int) -> None:
        """Each home has its minute of the hour and of the day: no tick pays for all."""
        home, sensor, tick = self.state.home, self.state.sensor, at_ms // self._step_ms
        per_hour, per_day = 60 // self.step_min, DAY_MIN // self.step_min
        hourly = self._person_home % per_hour == tick % per_hour
        sensors = self._persons[hourly]
        if len(sensors):
            health.judge(
                home, sensor, sensors, self.layout.home, now_ms=at_ms, ticks_per_hour=per_hour
            )
        rows = self._row[tick % per_day :: per_day]
        if not len(rows):
            return
        mine = self._persons[self._person_home % per_day == tick % per_day]
        health.look_for_moves(home, sensor, mine, self.layout.home, at_ms)
        for name, empty in (("least", np.nan), ("hours", 0)):
            sensor[f"{name}_before"][mine] = sensor[name][mine]
            sensor[name][mine] = empty
        present = np.isin(home["state"][rows], (_HOME, _ASLEEP, _AWAY))
        home["days"][rows] += np.where(present, 256, 0).astype(np.int32)
        end_day(home, sensor, rows, mine, self._prior, self._has_door[rows])

    def _scores(self, at_ms: int, proven: NDArray[np.int64]) -> Scores:
        home = self.state.home
        state = home["state"]
        here = (state == _HOME) | (state == _ASLEEP)
        surprise = np.where(here, home["surprise"], 0.0)
        upto = np.where(here, np.maximum(proven, home["since_ms"]), at_ms)
        since = np.where(state == _UNKNOWN, home["heard_ms"], home["since_ms"])
        minutes = np.maximum(np.where(since > 0, (upto - since) / MINUTE_MS, 0.0), 0.0)
        dry_from = np.maximum(home["water_ms"], 0)
        dry = np.where(self._has_water & (dry_from > 0), (upto - dry_from) / MINUTE_MS, np.nan)
        return Scores(
            at_ms=at_ms,
            p=np.exp(-surprise),
            monthly=per_month(surprise, home["level"]),
            minutes=minutes,
            usual=np.where(home["usual"] > 0, home["usual"], minutes),
            state=state.copy(),
            dry=dry,
            hearts=home["hearts"] >= HEARTS,
        )

    def snapshot(self) -> bytes:
        return self.state.snapshot(self.layout)

    def restore(self, blob: bytes) -> None:
        """Raises `state.SnapshotMismatch`."""
        self.state = State(self.layout)
        self._new_homes()
        self.state.restore(blob, self.layout)


@dataclass(slots=True)
class _Moves:
    """What the rows of one tick say of each home; times are 0 where nothing was."""

    row_min: NDArray[np.int64]
    row_max: NDArray[np.int64]
    first_ms: NDArray[np.int64]
    inside_ms: NDArray[np.int64]
    room: NDArray[np.uint8]
    door_ms: NDArray[np.int64]
    water_ms: NDArray[np.int64]
    hearts: NDArray[np.int32]
    up_ms: NDArray[np.int64]
    down_ms: NDArray[np.int64]

    @staticmethod
    def none(homes: int) -> _Moves:
        def zeros() -> NDArray[np.int64]:
            return np.zeros(homes, np.int64)

        return _Moves(
            row_min=zeros(),
            row_max=zeros(),
            first_ms=zeros(),
            inside_ms=zeros(),
            room=np.zeros(homes, np.uint8),
            door_ms=zeros(),
            water_ms=zeros(),
            hearts=np.zeros(homes, np.int32),
            up_ms=zeros(),
            down_ms=zeros(),
        )

    def note_rows(
        self,
        home: NDArray[np.int32],
        kind: NDArray[np.uint8],
        ts: NDArray[np.int64],
        value: NDArray[np.float64],
        active: NDArray[np.bool_],
    ) -> None:
        link = kind == _LINK
        up, down = link & (value > 0), link & (value == 0)
        np.maximum.at(self.up_ms, home[up], ts[up])
        np.maximum.at(self.down_ms, home[down], ts[down])
        said = ~link
        np.maximum.at(self.row_max, home[said], ts[said])
        _least(self.row_min, home[said], ts[said])
        # A meter that reports without use does so regularly: that proves as much as a heartbeat.
        heart = (kind == _HEARTBEAT) | ((kind == _METER) & ~active)
        np.add.at(self.hearts, home[heart], np.int32(1))

    def note_inside(
        self, home: NDArray[np.int32], ts: NDArray[np.int64], room: NDArray[np.uint8]
    ) -> None:
        order = np.argsort(ts, kind="stable")
        self.room[home[order]] = room[order]
        np.maximum.at(self.inside_ms, home, ts)


def is_active(
    kind: NDArray[np.uint8], value: NDArray[np.float64], before: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Motion, water and the help button by their value, the others by its change: contacts
    repeat their state."""
    known = ~np.isnan(before)
    seen = (kind == _MOTION) | (kind == _WATER) | (kind == _METER) | (kind == _HELP)
    changed = ((kind == _CONTACT) | (kind == _PRESSURE)) & known & (value != before)
    switched = (kind == _POWER) & known & (np.abs(value - before) >= POWER_W)
    return np.asarray((seen & (value > 0)) | changed | switched)


def _least(column: NDArray[np.int64], rows: NDArray[np.int32], ts: NDArray[np.int64]) -> None:
    """The least time of each row, where 0 stands for none."""
    if not len(rows):
        return
    order = np.argsort(-ts, kind="stable")
    old = column[rows[order]]
    column[rows[order]] = np.where(old > 0, np.minimum(old, ts[order]), ts[order])


def _add(column: NDArray[np.uint16], sensors: NDArray[np.int32], part: Rows) -> None:
    """Count a tick, up to what the column holds."""
    old = column[sensors, part]
    column[sensors, part] = np.minimum(old.astype(np.int64) + SENSOR_UNIT, 65_535).astype(np.uint16)


__all__ = ["HomeState", "InactivityOperator", "Infer", "Scores", "is_active"]
