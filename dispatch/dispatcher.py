"""The thread that delivers: at least once, in order per alert, level Ⅰ first.

It wakes when events are recorded, takes what is due, and hands it to a few lanes per receiver.
Everything it must not forget is in the store, so a killed dispatcher goes on where it was; what
was under way is sent again under the same id.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from contracts.alerts import timestamp
from dispatch import renotify
from dispatch.deliver.sender import Sender
from dispatch.heartbeat import heartbeat
from dispatch.outbox import Delivery
from dispatch.retry import FAILING_AFTER_MS, Next, Outcome, Plan, pause_ms, plan
from dispatch.store import Store, Stored

LANES = 4
"""Requests under way per receiver; one of them is kept free for level Ⅰ."""

LONGEST_SLEEP_MS = 5_000
CLOCK_STEP_MS = 1_000

_log = logging.getLogger("gridwarden.dispatch")


@dataclass(frozen=True, slots=True)
class Pulse:
    """How the pipeline is. position: of the log, worked off. lag_ms: how far behind it is."""

    position: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals in ms; the defaults are proposals."""

    heartbeat_ms: int = renotify.HEARTBEAT_EVERY_MS
    remind_ms: int = renotify.REMIND_EVERY_MS
    remind_severity: int = renotify.REMIND_SEVERITY


@dataclass(frozen=True, slots=True)
class Delivered:
    """One finished delivery, for metrics."""

    delivery: Delivery
    done_ms: int


@dataclass(slots=True)
class _Lane:
    """One receiver's requests under way; only the dispatcher's thread changes `under_way`."""

    sender: Sender
    pool: ThreadPoolExecutor
    under_way: set[int] = field(default_factory=set)
    beating: bool = False
    failing_since_ms: int | None = None


class Dispatcher:
    """Delivers what `store` holds to `senders` (receiver name -> sender), until `stop`.

    pulse: asked before each heartbeat. observe: told of each delivery, in a lane's thread.
    alarm: told when level Ⅰ can't be delivered for 10 s, and again when it can: (receiver,
    since ms or None). counts: by reason, for metrics.
    """

    def __init__(
        self,
        store: Store,
        senders: Mapping[str, Sender],
        *,
        pulse: Callable[[], Pulse],
        timing: Timing | None = None,
        observe: Callable[[Delivered], None] | None = None,
        alarm: Callable[[str, int | None], None] | None = None,
    ) -> None:
        self._store = store
        self._outbox = store.outbox
        self._pulse = pulse
        self._timing = timing or Timing()
        self._observe = observe
        self._alarm = alarm
        self._jitter = random.SystemRandom()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._done_lock = threading.Lock()
        self._done: list[tuple[str, int]] = []
        self._last_beat_ms: int | None = None
        self._now_ms = 0
        self._lanes = {
            name: _Lane(sender, ThreadPoolExecutor(LANES + 1, f"deliver-{name}"))
            for name, sender in senders.items()
        }
        self.counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        store.subscribe(self._recorded)

    def start(self) -> None:
        for name in self._lanes:
            self._outbox.resume(name, _now_ms())
        self._thread.start()

    def stop(self, grace_s: float = 2.0) -> None:
        """Let what is under way end for `grace_s`, then cut it off. Nothing is lost by that."""
        self._stopping.set()
        self._wake.set()
        self._store.unsubscribe(self._recorded)
        if self._thread.ident is not None:
            self._thread.join()
        deadline = time.monotonic() + grace_s
        for lane in self._lanes.values():
            lane.pool.shutdown(wait=False, cancel_futures=True)
        while self._busy() and time.monotonic() < deadline:
            time.sleep(0.005)
        for lane in self._lanes.values():
            lane.sender.close()
        for lane in self._lanes.values():
            lane.pool.shutdown(wait=True)

    def wake(self) -> None:
        """Look again now: something has changed in the store."""
        self._wake.set()

    def enable(self, receiver: str) -> bool:
        """Send to a disabled receiver again. False when there is no such receiver."""
        known = self._outbox.enable(receiver, _now_ms())
        self._wake.set()
        return known

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def health(self) -> dict[str, object]:
        """Per receiver what waits and what is wrong; `ok` false when level Ⅰ can't be delivered."""
        receivers = []
        for row in self._store.queries.receivers():
            lane = self._lanes.get(row["name"])
            receivers.append(
                {
                    "name": row["name"],
                    "waiting": row["open"],
                    "configured": lane is not None,
                    "disabled": row["disabled"],
                    "failures": row["failures"],
                    "last_ok": _time(row["last_ok_ms"]),
                    "error": row["error"],
                    "delivery_failing_since": _time(lane.failing_since_ms if lane else None),
                }
            )
        failing = any(lane.failing_since_ms is not None for lane in self._lanes.values())
        return {"ok": self.alive and not failing, "receivers": receivers}

    # The thread

    def _recorded(self, new: Sequence[Stored]) -> None:
        del new  # The store is asked, so that a restart and a wake-up go the same way.
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                wait_ms = self._step(_now_ms())
            except sqlite3.OperationalError as error:
                # A full or locked disk: the marks wait, the events are safe. Try again soon.
                self._count("store_failed")
                _log.error("dispatch store: %s", error)
                wait_ms = 1_000
            self._wake.wait(wait_ms / 1000)
            self._wake.clear()

    def _step(self, now_ms: int) -> int:
        """Start what is due; the milliseconds until something else is."""
        self._collect()
        if now_ms < self._now_ms - CLOCK_STEP_MS:
            # The clock went back: what was due soon would wait for as long as it went.
            self._count("clock_went_back")
            for name in self._lanes:
                self._outbox.resume(name, now_ms)
        self._now_ms = now_ms
        self._remind(now_ms)
        self._beat(now_ms)
        waits = [
            renotify.heartbeat_due(self._last_beat_ms, now_ms, every_ms=self._timing.heartbeat_ms),
            LONGEST_SLEEP_MS,
        ]
        remind_ms = renotify.next_ms(self._waiting(), every_ms=self._timing.remind_ms)
        if remind_ms is not None:
            waits.append(remind_ms - now_ms)
        for name, lane in self._lanes.items():
            waits.append(self._deliver(name, lane, now_ms))
            waits.append(self._watch(name, lane, now_ms))
        return max(0, min(waits))

    def _deliver(self, name: str, lane: _Lane, now_ms: int) -> int:
        state = self._outbox.state(name)
        if state.disabled:
            return LONGEST_SLEEP_MS
        paused = now_ms < state.not_before_ms
        free = LANES - len(lane.under_way)
        for delivery in self._outbox.due(
            name, now_ms, limit=LANES + len(lane.under_way), urgent=paused
        ):
            if free <= 0 or delivery.seq in lane.under_way:
                continue
            if not delivery.so_far.urgent and free <= 1:
                break  # The last lane is for level Ⅰ.
            free -= 1
            lane.under_way.add(delivery.seq)
            lane.pool.submit(self._attempt, name, lane, delivery)
        due = [self._outbox.next_ms(name, now_ms), state.not_before_ms if paused else None]
        return min((ms - now_ms for ms in due if ms is not None), default=LONGEST_SLEEP_MS)

    def _attempt(self, name: str, lane: _Lane, delivery: Delivery) -> None:
        """In a lane's thread: one request and its marks."""
        try:
            outcome = lane.sender.send(delivery)
            now_ms = _now_ms()
            if outcome.status is None and self._stopping.is_set():
                return  # Cut off by our own stop; it says nothing of the receiver.
            step = plan(delivery.so_far, outcome, now_ms, jitter=self._jitter.uniform(-1, 1))
            self._mark(name, delivery, step, outcome, now_ms)
        except Exception:  # noqa: BLE001 - said and counted
            # The lane must live on, whatever a sender does; the delivery stays due.
            self._count("attempt_crashed")
            _log.exception("delivery to %s crashed", name)
            self._stopping.wait(1.0)
        finally:
            with self._done_lock:
                self._done.append((name, delivery.seq))
            self._wake.set()

    def _mark(
        self, name: str, delivery: Delivery, step: Plan, outcome: Outcome, now_ms: int
    ) -> None:
        self._outbox.finish(delivery, step, outcome, now_ms)
        failures = self._outbox.state(name).failures + 1
        self._outbox.answered(name, outcome, now_ms, pause_ms=pause_ms(failures, outcome))
        if step.next is Next.DONE:
            self._count("delivered")
            if self._observe is not None:
                self._observe(Delivered(delivery, now_ms))
            return
        self._count(f"failed_{outcome.status or 'no_answer'}")
        if step.next is Next.DISABLE:
            self._outbox.disable(name, "410 Gone", now_ms)
            _log.error("receiver %s answers 410 and is disabled; enable it when it is back", name)
        elif step.next is Next.EXHAUSTED:
            self._count("exhausted")
            _log.error("event %s: gave up on receiver %s", delivery.id, name)

    def _collect(self) -> None:
        with self._done_lock:
            done, self._done = self._done, []
        for name, seq in done:
            self._lanes[name].under_way.discard(seq)

    def _busy(self) -> bool:
        self._collect()
        return any(lane.under_way or lane.beating for lane in self._lanes.values())

    # Reminders, heartbeat, and the alarm about deliveries

    def _waiting(self) -> list[renotify.Waiting]:
        return self._store.waiting(self._timing.remind_severity)

    def _remind(self, now_ms: int) -> None:
        for reminder in renotify.due(self._waiting(), now_ms, every_ms=self._timing.remind_ms):
            if self._store.remind(reminder, now_ms=now_ms) is not None:
                self._count("reminders")

    def _beat(self, now_ms: int) -> None:
        every_ms = self._timing.heartbeat_ms
        if renotify.heartbeat_due(self._last_beat_ms, now_ms, every_ms=every_ms):
            return
        self._last_beat_ms = now_ms
        pulse = self._pulse()
        name, body = heartbeat(pulse.position, pulse.lag_ms, now_ms, every_ms=every_ms)
        self._count("stalled_beats" if renotify.is_stalled(pulse.lag_ms) else "heartbeats")
        for receiver, lane in self._lanes.items():
            if not lane.beating and not self._outbox.state(receiver).disabled:
                lane.beating = True
                lane.pool.submit(self._beat_one, receiver, lane, name, body)

    def _beat_one(self, receiver: str, lane: _Lane, name: str, body: bytes) -> None:
        try:
            outcome = lane.sender.beat(name, body)
            if not outcome.delivered:
                self._count("heartbeats_failed")
                if self._stopping.is_set():
                    return
            # A heartbeat is also the probe that finds a receiver that is back.
            self._outbox.answered(receiver, outcome, _now_ms(), pause_ms=0)
        except Exception:  # noqa: BLE001 - said and counted; the next beat is another try
            self._count("attempt_crashed")
            _log.exception("heartbeat to %s crashed", receiver)
        finally:
            lane.beating = False
            self._wake.set()

    def _watch(self, name: str, lane: _Lane, now_ms: int) -> int:
        """Shout when level Ⅰ waits for too long; milliseconds until that could be."""
        oldest = self._outbox.oldest_urgent_ms(name)
        failing = oldest is not None and now_ms - oldest >= FAILING_AFTER_MS
        if failing and lane.failing_since_ms is None:
            lane.failing_since_ms = oldest
            self._count("delivery_failing")
            _log.error("level I alerts can't be delivered to %s", name)
            self._tell_alarm(name, oldest)
        elif oldest is None and lane.failing_since_ms is not None:
            lane.failing_since_ms = None
            _log.warning("level I alerts are delivered to %s again", name)
            self._tell_alarm(name, None)
        if oldest is None or failing:
            return LONGEST_SLEEP_MS
        return oldest + FAILING_AFTER_MS - now_ms

    def _tell_alarm(self, name: str, since_ms: int | None) -> None:
        if self._alarm is not None:
            self._alarm(name, since_ms)

    def _count(self, name: str) -> None:
        with self._counts_lock:
            self.counts[name] += 1


def _time(ms: int | None) -> str | None:
    return None if ms is None else timestamp(ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
