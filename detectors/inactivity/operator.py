"""The detector: rows of home sensors in, scores of homes out.

Time moves in ticks of whole minutes of event time. Rows wait for the tick that follows them, so
nothing depends on how they were cut into calls, and a tick sees nothing later than itself. A row
that comes after its tick (a backlog) is taken at the next one: it moves the home's last activity,
and nothing is scored or learnt in hindsight.

Who is at home: `presence`. How surprising a silence is: `silence`. Which sensors are believed:
`health` and `rhythm`; what happens when one no longer is: `lookback`. What a home teaches:
`learning`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity import health, rhythm, watching
from detectors.inactivity.clock import DAY_MIN, MINUTE_MS, LocalClock
from detectors.inactivity.layout import Kind, Layout, Role
from detectors.inactivity.learning import Rows, end_day, first_level, per_month
from detectors.inactivity.lookback import look_back
from detectors.inactivity.moves import Moves, is_active, least
from detectors.inactivity.presence import HEARTS, HomeState, is_here, proven_ms, resume, states
from detectors.inactivity.prior import Prior
from detectors.inactivity.silence import Infer, Silences
from detectors.inactivity.state import UNIT, State, sensor_mask

_WATER, _METER, _PRESSURE = int(Kind.WATER), int(Kind.METER), int(Kind.PRESSURE)
_FRONT_DOOR, _MOVED = int(Role.FRONT_DOOR), int(health.Trust.MOVED)
_UNKNOWN = int(HomeState.UNKNOWN)

ThreeColumns = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Scores:
    """All homes after one tick; row i is home i.

    p: float64, probability of a silence this long. monthly: float64, how many silences like this
    30 days of this home would hold. minutes: float64, of silence that counts, outages left out
    (in `AWAY` and `UNKNOWN`: since it began). usual: float64, minutes within which 19 of 20
    silences that begin as this one did have ended; of one that isn't longer yet, `minutes`. state:
    uint8, `HomeState`. dry: float64 minutes without water, NaN = no water meter. hearts: bool,
    heartbeats prove that the sensors work.
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
        self.layout, self._prior = layout, prior
        self.step_min = step_min
        self._step_ms = step_min * MINUTE_MS
        self.state = State(layout)
        self.silences = Silences(infer, prior)
        self._clock = LocalClock(layout)
        self._person = sensor_mask(layout)
        homes = len(layout.homes)
        is_door = layout.role == _FRONT_DOOR
        doors = layout.home[is_door]
        self._has_door = np.minimum(np.bincount(doors, minlength=homes), 1).astype(np.intp)
        self._new_homes()
        self._row = np.arange(homes)
        self._has_water = np.bincount(
            layout.home[np.isin(layout.kind, (_WATER, _METER)) & self._person], minlength=homes
        ).astype(bool)
        watched = np.flatnonzero(self._person | is_door)
        self._watched = watched[np.argsort(layout.home[watched], kind="stable")]
        self._watched_home = layout.home[self._watched]

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
        local = self._clock.minutes(at_ms)
        minute = local % DAY_MIN
        part = (minute // 180).astype(np.intp)
        stuck = self._judge(at_ms)
        moves, chattering = self._moves(rows, at_ms, part)
        resume(home, moves)
        proven = proven_ms(home, at_ms)
        if len(stuck) or len(chattering):
            self._put_right(np.union1d(stuck, chattering), at_ms, proven, local)
        self.silences.add(home, moves, proven, local)
        self._act(moves, part)
        home["state"][:] = states(home, at_ms, minute)
        self._end_days(at_ms)
        return self._scores(at_ms, proven)

    def _due(self, at_ms: int) -> ThreeColumns:
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

    # What happened since the last tick

    def _moves(self, rows: ThreeColumns, at_ms: int, part: Rows) -> tuple[Moves, Rows]:
        """And the sensors that turn out to keep time like a machine."""
        sensor, ts, value = rows
        moves = Moves.none(len(self.layout.homes))
        if not len(sensor):
            return moves, np.empty(0, np.intp)
        columns, layout = self.state.sensor, self.layout
        home = layout.home[sensor]
        kind = layout.kind[sensor]
        head = np.flatnonzero(np.diff(sensor, prepend=-1))
        before = np.concatenate([[np.nan], value[:-1]])
        before[head] = columns["value"][sensor[head]]
        active = is_active(kind, value, before)
        watching.leave_out_base_flow(columns, sensor, kind, ts, value, active)
        moves.note_rows(home, kind, ts, value, active)
        is_door = active & (layout.role[sensor] == _FRONT_DOOR)
        is_person = active & self._person[sensor]
        shows = is_door | is_person
        chattering = rhythm.note(
            columns,
            sensor[shows],
            ts[shows],
            good=health.believed(columns["trust"]),
            shown_ms=self.state.home["inside_ms"][layout.home],
        )
        health.doubt(columns, chattering)
        trusted = health.believed(columns["trust"][sensor])
        inside, door = is_person & trusted, is_door & trusted
        room = np.where(columns["trust"][sensor] == _MOVED, 0, layout.room[sensor])
        moves.note_inside(home[inside], ts[inside], room[inside])
        np.maximum.at(moves.door_ms, home[door], ts[door])
        # What came late ends no silence in hindsight.
        first = (inside | door) & (ts > at_ms - self._step_ms)
        least(moves.first_ms, home[first], ts[first])
        wet = inside & ((kind == _WATER) | (kind == _METER))
        np.maximum.at(moves.water_ms, home[wet], ts[wet])
        bed = kind == _PRESSURE
        self.state.home["loaded"][home[bed]] = value[bed] > 0
        watching.note_last(columns, layout, self.state.home["acts"], sensor, ts, value)
        watching.note_acting(columns, layout, np.unique(sensor[is_person]), part)
        return moves, chattering

    def _put_right(
        self, doubted: Rows, at_ms: int, proven: NDArray[np.int64], local: NDArray[np.int64]
    ) -> None:
        """These sensors were believed and ought not to have been."""
        home, layout = self.state.home, self.layout
        homes = np.unique(layout.home[doubted])
        mine = self._watched[np.isin(self._watched_home, homes)]
        health.cover(home, self.state.sensor, mine, layout.home[mine])
        # What it showed is nothing that others missed.
        self.state.sensor["acts_then"][mine] = home["acts"][layout.home[mine]]
        rows = look_back(self.state, layout, self._watched, doubted)
        if len(rows):
            self.silences.again(home, rows, proven[rows], local[rows], at_ms)
        home["state"][homes] = states(home, at_ms, local % DAY_MIN)[homes]

    def _act(self, moves: Moves, part: Rows) -> None:
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
        home["before_ms"][newer] = 0
        door = np.flatnonzero(moves.door_ms > home["door_ms"])
        home["before_ms"][door] = 0
        home["door_ms"][door] = moves.door_ms[door]
        last = np.maximum(moves.inside_ms, moves.door_ms)
        acted = np.flatnonzero(last > home["since_ms"])
        home["since_ms"][acted] = last[acted]
        home["upto_ms"][acted] = last[acted]
        home["surprise"][acted] = 0.0
        home["usual"][acted] = 0.0

    # Each home has its minute of the hour and of the day: no tick pays for all

    def _judge(self, at_ms: int) -> Rows:
        """The hourly look at sensors: those that are believed no longer."""
        per_hour = 60 // self.step_min
        hourly = self._watched_home % per_hour == at_ms // self._step_ms % per_hour
        home, sensor = self.state.home, self.state.sensor
        return health.judge(
            home,
            sensor,
            self._watched[hourly],
            self.layout.home,
            now_ms=at_ms,
            ticks_per_hour=per_hour,
        )

    def _end_days(self, at_ms: int) -> None:
        home, sensor, tick = self.state.home, self.state.sensor, at_ms // self._step_ms
        per_day = DAY_MIN // self.step_min
        rows = self._row[tick % per_day :: per_day]
        if not len(rows):
            return
        mine = self._watched[self._watched_home % per_day == tick % per_day]
        health.look_for_moves(home, sensor, mine, self.layout.home, at_ms)
        health.age_customs(sensor, mine)
        for name, empty in (("least", np.nan), ("hours", 0)):
            sensor[f"{name}_before"][mine] = sensor[name][mine]
            sensor[name][mine] = empty
        present = home["state"][rows] != _UNKNOWN
        home["days"][rows] += np.where(present, 256, 0).astype(np.int32)
        end_day(home, sensor, rows, mine, self._prior, self._has_door[rows])

    def _scores(self, at_ms: int, proven: NDArray[np.int64]) -> Scores:
        home = self.state.home
        state = home["state"]
        here = is_here(state)
        surprise = np.where(here, home["surprise"], 0.0)
        upto = np.where(here, np.maximum(proven, home["since_ms"]), at_ms)
        since = np.where(state == _UNKNOWN, home["heard_ms"], home["since_ms"])
        minutes = np.maximum(np.where(since > 0, (upto - since) / MINUTE_MS, 0.0), 0.0)
        minutes += np.where(here, home["before_ms"] / MINUTE_MS, 0.0)
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
