"""The clock guard: what time it really was at a gateway, from two clocks and our own.

A gateway tells with each pack and status its wall clock and its monotonic clock at the same
moment. The wall clock may be anything: 1970 until the network is there, or 2099. The monotonic
clock only counts since the gateway's boot, but doesn't step. So for each (gateway, boot)

    offset = true time - monotonic clock

is nearly a constant, and each message that arrives tells a bound of it: a message can only be
late, so `accepted - mono >= offset`, and the least of these over all messages is the estimate.
How good it is depends on whether any message came without delay:

* Birth and heartbeat are sent live, before and between the packs of a connection. A held-back
  pack of the same boot then has a larger `accepted - mono`; the least one stands, and the pack's
  true time is `mono + offset`, a day ago. That is why held-back packs need no trusted wall clock.
* The first message heard of a boot may itself be held back (a retained birth, a backlog in the
  broker while ingest was down): then the estimate is too late by the delay, and nothing tells
  this from a wall clock that is behind. A delayed backlog drains faster than it was made, so its
  estimates fall from message to message. An estimate is therefore *settled* only when the wall
  clock agrees with it, or when it has held for `settle_ms` of the gateway's own time.
* Until then a wall clock *ahead* of the estimate is proven wrong all the same (the estimate is
  an upper bound), one that is behind but plausible is trusted, and one that is not plausible at
  all is repaired if a status was heard in this boot, because a status is live as a rule. Packs
  alone with an implausible wall clock leave nothing to go by: only safety signals pass.

Monotonic clocks drift, so the estimate may rise again by `drift_ppm` of the gateway's own time
between messages; and when messages keep telling the same higher offset for `settle_ms` while the
wall clock agrees (a machine that was paused), that offset is taken over.

All is a function of messages in log order, one gateway and boot at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from contracts.batch import Flag
from ingest.limits import AdmissionSettings

LIMIT_MS = 1 << 42
"""139 years: clock readings beyond it are no clock readings, and sums of two fit in an i64."""

_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class ClockSample:
    """The two clocks of one message and when we accepted it; `live`: it is a birth or heartbeat."""

    wall_ms: int
    mono_ms: int
    accepted_ms: int
    live: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """What to make of the times in one message.

    shift_ms: to take off each event time; flags: to add to each row. usable: False when no clock
    of this message can be trusted. true_ms: when the message was made. latest_ms: event times
    after it are faults. fallback_flags: for a safety row that is put at `true_ms`. former_ms: the
    wall clock's error before this message, or None: rows from before the clock was set have it.
    skew_ms: the wall clock's error, None when it isn't known.
    """

    shift_ms: int
    flags: int
    usable: bool
    true_ms: int
    latest_ms: int
    fallback_flags: int
    former_ms: int | None = None
    skew_ms: int | None = None


@dataclass(slots=True)
class BootClock:
    """The estimate for one boot. Offsets in ns, so that small drifts add up.

    near_from_ms, near_to_ms: the gateway's own time span over which the estimate has held, within
    the tolerance; highest_ns: the highest offset told in that span.
    rival_*: the same for a higher offset that may have to be taken over; rival_ns -1 = none.
    """

    offset_ns: int
    at_mono_ms: int
    near_from_ms: int
    near_to_ms: int
    highest_ns: int
    settled: bool = False
    heard_live: bool = False
    skew_ms: int | None = None
    rival_ns: int = -1
    rival_from_ms: int = 0


class ClockGuard:
    """The clocks of all gateways; state is (gateway row, boot) -> `BootClock`."""

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._boots: dict[int, OrderedDict[int, BootClock]] = {}

    def observe(self, gateway: int, boot: int, sample: ClockSample) -> Timing:
        """Learn from one message and judge it. gateway: row of the directory."""
        if not (0 <= sample.mono_ms < LIMIT_MS and -LIMIT_MS < sample.wall_ms < LIMIT_MS):
            return self.distrust(sample)
        clock = self._learn(gateway, boot, sample)
        former = clock.skew_ms
        timing = self._judge(clock, sample)
        clock.skew_ms = timing.skew_ms
        if former is None or timing.skew_ms is None or former == timing.skew_ms:
            return timing
        if abs(former - timing.skew_ms) <= self._settings.skew_ms:
            return timing
        return Timing(
            timing.shift_ms,
            timing.flags,
            timing.usable,
            timing.true_ms,
            timing.latest_ms,
            timing.fallback_flags,
            former,
            timing.skew_ms,
        )

    def distrust(self, sample: ClockSample) -> Timing:
        """Judge a message of a gateway whose clocks tell nothing: by its wall clock alone."""
        settings = self._settings
        latest = sample.accepted_ms + settings.future_ms
        if settings.floor_ms <= sample.wall_ms <= latest:
            true_ms = min(sample.wall_ms, sample.accepted_ms)
            return Timing(0, 0, True, true_ms, latest, int(Flag.REPAIRED))
        return Timing(0, 0, False, sample.accepted_ms, latest, int(Flag.CLOCK_UNKNOWN))

    def _learn(self, gateway: int, boot: int, sample: ClockSample) -> BootClock:
        offset_ns = (sample.accepted_ms - sample.mono_ms) * _NS
        boots = self._boots.setdefault(gateway, OrderedDict())
        clock = boots.get(boot)
        if clock is None:
            clock = boots[boot] = BootClock(
                offset_ns, sample.mono_ms, sample.mono_ms, sample.mono_ms, offset_ns
            )
            if len(boots) > self._settings.clock_boots:
                boots.popitem(last=False)
        else:
            boots.move_to_end(boot)
            self._refine(clock, offset_ns, sample)
        clock.heard_live |= sample.live
        if not clock.settled:
            held_ms = clock.near_to_ms - clock.near_from_ms
            skew_ms = sample.wall_ms - sample.mono_ms - clock.offset_ns // _NS
            agrees = abs(skew_ms) <= self._settings.skew_ms
            clock.settled = agrees or held_ms >= self._settings.settle_ms
        return clock

    def _refine(self, clock: BootClock, offset_ns: int, sample: ClockSample) -> None:
        tolerance_ns = self._settings.skew_ms * _NS
        mono_ms = sample.mono_ms
        drift_ns = max(0, mono_ms - clock.at_mono_ms) * self._settings.drift_ppm
        if offset_ns < clock.offset_ns - tolerance_ns:
            # Everything before was delayed: what it seemed to confirm is void.
            clock.offset_ns, clock.at_mono_ms = offset_ns, mono_ms
            clock.settled = False
            _begin_span(clock, offset_ns, mono_ms)
        elif offset_ns <= clock.offset_ns + drift_ns + tolerance_ns:
            clock.offset_ns = min(offset_ns, clock.offset_ns + drift_ns)
            clock.at_mono_ms = max(clock.at_mono_ms, mono_ms)
            clock.near_from_ms = min(clock.near_from_ms, mono_ms)
            clock.near_to_ms = max(clock.near_to_ms, mono_ms)
            clock.highest_ns = max(clock.highest_ns, offset_ns)
            if clock.highest_ns - clock.offset_ns > tolerance_ns:
                # It creeps down, as in a backlog: that is no holding.
                _begin_span(clock, offset_ns, mono_ms)
        else:
            self._follow_rival(clock, offset_ns, sample)
            return
        clock.rival_ns = -1

    def _follow_rival(self, clock: BootClock, offset_ns: int, sample: ClockSample) -> None:
        """A message later than the estimate allows: delayed, unless the wall clock keeps saying
        that it is not."""
        tolerance_ns = self._settings.skew_ms * _NS
        if abs(sample.wall_ms - sample.accepted_ms) > self._settings.skew_ms:
            return
        if clock.rival_ns < 0 or abs(offset_ns - clock.rival_ns) > tolerance_ns:
            clock.rival_ns, clock.rival_from_ms = offset_ns, sample.mono_ms
            return
        clock.rival_ns = min(clock.rival_ns, offset_ns)
        if sample.mono_ms - clock.rival_from_ms >= self._settings.settle_ms:
            clock.offset_ns, clock.at_mono_ms = clock.rival_ns, sample.mono_ms
            _begin_span(clock, offset_ns, sample.mono_ms)
            clock.rival_ns = -1

    def _judge(self, clock: BootClock, sample: ClockSample) -> Timing:
        settings = self._settings
        true_ms = min(sample.mono_ms + clock.offset_ns // _NS, sample.accepted_ms)
        skew_ms = sample.wall_ms - true_ms
        ahead = skew_ms > settings.skew_ms
        plausible = settings.floor_ms <= sample.wall_ms <= sample.accepted_ms + settings.future_ms
        if not clock.settled:
            if not plausible and not clock.heard_live:
                return self.distrust(sample)
            if plausible and not ahead:
                return self.distrust(sample)
        latest_ms = true_ms + settings.future_ms
        repaired = int(Flag.REPAIRED)
        if abs(skew_ms) <= settings.skew_ms:
            return Timing(0, 0, True, true_ms, latest_ms, repaired, skew_ms=skew_ms)
        return Timing(skew_ms, repaired, True, true_ms, latest_ms, repaired, skew_ms=skew_ms)

    def state(self) -> list[tuple[int, list[tuple[int, list[Any]]]]]:
        """For the snapshot: per gateway row, its boots from the least recently heard on."""
        return [
            (
                gateway,
                [
                    (boot, [getattr(clock, name) for name in BootClock.__slots__])
                    for boot, clock in boots.items()
                ],
            )
            for gateway, boots in self._boots.items()
        ]

    def load(self, state: list[Any], gateway_rows: list[int]) -> None:
        """gateway_rows[old row] = the gateway's row in this directory."""
        self._boots = {
            gateway_rows[gateway]: OrderedDict((boot, BootClock(*clock)) for boot, clock in boots)
            for gateway, boots in state
        }


def _begin_span(clock: BootClock, offset_ns: int, mono_ms: int) -> None:
    clock.near_from_ms = clock.near_to_ms = mono_ms
    clock.highest_ns = offset_ns
