"""The simulator as a source of the edge agent: paced by the clock, resumed by a cursor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edge.clock import Clock
from edge.sources import Drawn, SourceError
from edge.sources.simulate.district import District
from edge.sources.simulate.load import LoadDistrict
from edge.sources.simulate.options import Options, instant_ms, make_district, parse_options

CATCH_UP_STEPS = 40
"""When behind, one draw covers at most so many steps: bounds memory, not speed."""


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where to go on: rows of from_ms <= ts < to_ms of the gateways from `gateway` on, then the
    time after it. start_ms: of the district. anchor_ms: wall clock when it was begun."""

    start_ms: int
    anchor_ms: int
    from_ms: int
    to_ms: int
    gateway: int


class SimulateSource:
    """Draws the rows of the agent's gateways, one batch a gateway and step."""

    def __init__(self, options: Options, clock: Clock, gateways: Sequence[str]) -> None:
        self._options = options
        self._clock = clock
        self._gateways = tuple(gateways)
        self._end_ms = instant_ms("end", options.end) if options.end else None
        if options.profile != "load":
            known = tuple(f"gw-{i + 1:02d}" for i in range(options.gateways))
            unknown = [name for name in gateways if name not in known]
            if unknown:
                raise SourceError(
                    f"source.gateways: the simulated district has {known[0]} to {known[-1]}, "
                    f"not {unknown[0]}; name the agent's gateways like that or raise the number"
                )

    def batches(self, resume: bytes | None) -> Iterator[Drawn]:
        """Draw from the start, or after `resume`; see `edge.sources.Source`."""
        cursor = self._begin() if resume is None else self._read(resume)
        district = make_district(self._options, cursor.start_ms, self._gateways)
        if resume is None:
            self._tell(district, cursor.start_ms, cursor.start_ms, fresh=True)
        while (step := self._next(cursor)) is not None:
            if step.gateway == 0:
                self._tell(district, step.from_ms, step.to_ms)
            yield from self._draw(district, step)
            cursor = msgspec.structs.replace(step, from_ms=step.to_ms, gateway=0)

    def close(self) -> None:
        """Nothing stays open between draws."""

    def _begin(self) -> Cursor:
        now = self._clock.wall_ms()
        start = now if self._options.start == "now" else instant_ms("start", self._options.start)
        return Cursor(start, now, start, start, 0)

    def _read(self, resume: bytes) -> Cursor:
        try:
            return msgspec.json.decode(resume, type=Cursor)
        except msgspec.MsgspecError as error:
            raise SourceError(
                f"source (simulate): the stored cursor is not of this source: {error}"
            ) from None

    def _next(self, at: Cursor) -> Cursor | None:
        """The next span to draw, after waiting for its time; None = no more, or stopping."""
        if at.gateway and at.to_ms > at.from_ms:
            return at
        step = self._options.step_ms
        if self._end_ms is not None and at.from_ms >= self._end_ms:
            return None
        while (ready := self._simulated_ms(at)) < at.from_ms + step:
            missing = at.from_ms + step - ready
            if not self._clock.wait(missing / max(self._options.speed, 1e-3)):
                return None
        if not self._clock.wait(0):
            return None
        to = min(ready, at.from_ms + step * CATCH_UP_STEPS)
        if self._end_ms is not None:
            to = min(to, self._end_ms)
        return msgspec.structs.replace(at, to_ms=to, gateway=0)

    def _simulated_ms(self, at: Cursor) -> int:
        """Simulated now. Not beyond the wall clock, unless the start itself lies there."""
        if self._options.speed == 0:
            return at.from_ms + self._options.step_ms * CATCH_UP_STEPS
        wall = self._clock.wall_ms()
        passed = wall - at.anchor_ms
        ahead = at.start_ms + int(passed * self._options.speed)
        return min(ahead, max(wall, at.start_ms + passed))

    def _draw(self, district: District | LoadDistrict, step: Cursor) -> Iterator[Drawn]:
        rows = range(step.gateway, len(self._gateways))
        numbers = [district.gateways.index(self._gateways[row]) for row in rows]
        batches = district.split(step.from_ms, step.to_ms, numbers)
        for row, batch in zip(rows, batches, strict=True):
            if len(batch):
                after = msgspec.structs.replace(step, gateway=row + 1)
                yield Drawn(batch, msgspec.json.encode(after), row)

    def _tell(
        self, district: District | LoadDistrict, from_ms: int, to_ms: int, *, fresh: bool = False
    ) -> None:
        """Write the truth of the span; after a restart a line may come twice, with its id."""
        if not self._options.truth_file:
            return
        rows = {district.gateways.index(name) for name in self._gateways}
        lines = [
            msgspec.json.encode(told)
            for told in district.truth(from_ms, to_ms)
            if district.gateways.index(told.gateway) in rows
        ]
        try:
            with Path(self._options.truth_file).open("wb" if fresh else "ab") as handle:
                handle.writelines(line + b"\n" for line in lines)
        except OSError as error:
            raise SourceError(f"source.truth_file: can't be written: {error}") from None


def open_source(
    options: Mapping[str, Any], clock: Clock, gateways: Sequence[str]
) -> SimulateSource:
    """See `edge.sources.Opener`."""
    return SimulateSource(parse_options(options), clock, gateways)
