"""Deliveries over real HTTP: order, retries, answers, outages, restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts.transitions import Change
from dispatch.deliver.webhook import WebhookSender
from dispatch.dispatcher import LANES, Delivered, Dispatcher, Pulse, Timing
from dispatch.receiver import Receiver
from dispatch.receivers import Filter, Webhook
from dispatch.store import Store
from tests.dispatch import scene
from tests.dispatch.conftest import SECRET, until
from tests.dispatch.scene import T0, S
from tests.parts.mosquitto import free_port

WELL = Pulse(1, 0)
QUIET = Timing(heartbeat_ms=3_600_000, remind_ms=3_600_000)


@contextmanager
def dispatching(
    store: Store,
    url: str,
    *,
    timing: Timing = QUIET,
    pulse: Pulse = WELL,
    **more: Any,
) -> Iterator[Dispatcher]:
    store.set_receivers({"desk": Filter()})
    sender = WebhookSender(Webhook("desk", url, (SECRET,)))
    dispatcher = Dispatcher(store, {"desk": sender}, pulse=lambda: pulse, timing=timing, **more)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        dispatcher.stop()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def waiting(store: Store) -> int:
    return int(store.queries.receivers()[0]["open"])


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Call it with a function from event to answer: a receiver that rehearses failures."""
    started = []

    def start(answer: Callable[[dict[str, Any]], Any], port: int = 0) -> Receiver:
        receiver = Receiver([SECRET], tmp_path / "received.jsonl", port=port, rehearse=answer)
        receiver.start()
        started.append(receiver)
        return receiver

    yield start
    for receiver in started:
        receiver.close()


def test_each_alerts_events_arrive_once_and_in_order(
    store: Store, receiver: Receiver, tmp_path: Path
) -> None:
    observed: list[Delivered] = []
    with dispatching(store, receiver.url, observe=observed.append):
        life = scene.lifecycle()
        events = []
        for n in range(20):
            rows = [
                scene.change(what, T0 + n * 10 * S + k, rule=scene.BATTERY, device=d)
                for d in (0, 3)
                for k, what in enumerate((Change.RAISED, Change.UNKNOWN, Change.CLEARED))
            ]
            events += life.apply(scene.batch(*rows))
        for event in events:
            store.record([event], 1)
        until(lambda: waiting(store) == 0, "all delivered")

    got = [line["event"] for line in lines(tmp_path / "received.jsonl")]
    assert sorted(event["id"] for event in got) == sorted(event.id for event in events)
    by_alert: dict[str, list[int]] = {}
    for event in got:
        by_alert.setdefault(event["subject"], []).append(event["data"]["revision"])
    assert set(map(tuple, by_alert.values())) == {(1, 2, 3)}
    assert receiver.counts["received"] == len(observed) == 120
    assert receiver.counts["repeats"] == 0


def test_a_receiver_that_comes_back_gets_everything(store: Store, tmp_path: Path) -> None:
    port = free_port()
    events = [scene.fire(), *scene.flood(5)]
    with dispatching(
        store, f"http://127.0.0.1:{port}/events", timing=Timing(300, 3_600_000)
    ) as dispatcher:
        store.record(events, 1)
        until(lambda: dispatcher.counts["failed_no_answer"] >= 6, "attempts failed")
        until(lambda: dispatcher.counts["heartbeats_failed"] >= 3, "heartbeats failed")
        # As after a long outage: everything stands at the end of the ladder.
        store._db.execute("UPDATE deliveries SET rung = 9, next_ms = next_ms + 86400000")
        receiver = Receiver([SECRET], tmp_path / "received.jsonl", port=port)
        receiver.start()
        # A heartbeat finds it; nobody waits for the ladder.
        until(lambda: waiting(store) == 0, "all delivered after the outage")
        receiver.close()

    assert {line["id"] for line in lines(tmp_path / "received.jsonl")} == {e.id for e in events}


def test_410_disables_and_keeps_what_waits(
    store: Store, rehearsal: Callable[..., Receiver]
) -> None:
    gone = threading.Event()
    gone.set()
    receiver = rehearsal(lambda _: (410, {}) if gone.is_set() else None)
    with dispatching(store, receiver.url) as dispatcher:
        store.record([scene.fire()], 1)
        until(lambda: store.outbox.state("desk").disabled == "410 Gone", "disabled")
        store.record(scene.flood(3), 2)
        dispatcher.wake()
        until(lambda: dispatcher.counts["failed_410"] == 1, "one attempt")
        assert waiting(store) == 4
        assert receiver.counts["rehearsed"] == 1

        gone.clear()
        assert dispatcher.enable("desk")
        assert not dispatcher.enable("nobody")
        until(lambda: waiting(store) == 0, "delivered after enabling")


def test_retry_after_pauses_all_but_level_one(
    store: Store, rehearsal: Callable[..., Receiver]
) -> None:
    receiver = rehearsal(
        lambda event: (429, {"retry-after": "3600"}) if event["data"]["severity"] == 4 else None
    )
    with dispatching(store, receiver.url) as dispatcher:
        store.record(scene.flood(1), 1)
        until(lambda: dispatcher.counts["failed_429"] == 1, "refused once")
        until(lambda: store.outbox.state("desk").not_before_ms > 0, "paused")
        store.record(scene.flood(2), 2)
        store.record([scene.fire()], 3)
        until(lambda: receiver.counts["received"] == 1, "the fire passes")

    assert receiver.counts["rehearsed"] == 1


def test_redirects_are_failures(store: Store, rehearsal: Callable[..., Receiver]) -> None:
    receiver = rehearsal(lambda _: (302, {"location": "http://127.0.0.1:9/steal"}))
    with dispatching(store, receiver.url) as dispatcher:
        store.record([scene.fire()], 1)
        until(lambda: dispatcher.counts["failed_302"] >= 1, "failed")

    assert waiting(store) == 1


def test_an_undeliverable_fire_is_shouted_about_here(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dispatch.dispatcher.FAILING_AFTER_MS", 100)
    port = free_port()
    said: list[tuple[str, int | None]] = []
    with dispatching(
        store,
        f"http://127.0.0.1:{port}/",
        timing=Timing(300, 3_600_000),
        alarm=lambda name, since: said.append((name, since)),
    ) as dispatcher:
        assert dispatcher.health()["ok"]
        store.record([scene.fire()], 1)
        until(lambda: said, "the alarm")
        assert not dispatcher.health()["ok"]
        receiver = Receiver([SECRET], tmp_path / "received.jsonl", port=port)
        receiver.start()
        until(lambda: len(said) == 2, "the all-clear")
        receiver.close()

    assert said[0][0] == "desk"
    assert said[0][1] is not None
    assert said[1] == ("desk", None)


def test_reminders_go_out_until_somebody_takes_it(
    store: Store, receiver: Receiver, tmp_path: Path
) -> None:
    life = scene.lifecycle()
    (raised,) = life.apply(scene.batch(scene.change(Change.RAISED)))
    with dispatching(store, receiver.url, timing=Timing(3_600_000, 50)) as dispatcher:
        store.record([raised], 1)
        until(lambda: receiver.counts["received"] >= 3, "two reminders")
        taken, _ = life.command(scene.order("acknowledge", raised.subject), T0 + S)
        store.record(taken, 2)
        until(lambda: store.waiting(1) == [], "taken")
        until(lambda: waiting(store) == 0, "all delivered")
        sent = dispatcher.counts["reminders"]

    got = lines(tmp_path / "received.jsonl")
    reminders = [line["id"] for line in got if line["event"]["data"]["change"] == "reminder"]
    assert reminders == [f"{raised.id}-n{n + 1}" for n in range(sent)]
    assert len({line["id"] for line in got}) == len(got)


def test_heartbeats_beat_and_a_stalled_pipeline_says_so(store: Store, receiver: Receiver) -> None:
    with dispatching(store, receiver.url, timing=Timing(50, 3_600_000)):
        until(lambda: receiver.counts["heartbeats"] >= 2, "heartbeats")
    assert receiver.counts["stalled"] == 0
    beats = receiver.counts["heartbeats"]

    with dispatching(store, receiver.url, timing=Timing(50, 3_600_000), pulse=Pulse(1, 61_000)):
        until(lambda: receiver.counts["stalled"] >= 2, "stalled")
    assert receiver.counts["heartbeats"] == beats


def test_a_new_onset_does_not_wait_for_the_slow_ladder(
    store: Store, rehearsal: Callable[..., Receiver]
) -> None:
    """The first event stands at 24 h; the next one of the alert brings it forward."""
    store.set_receivers({"desk": Filter()})
    life = scene.lifecycle()
    (raised,) = life.apply(scene.batch(scene.change(Change.RAISED)))
    store.record([raised], 1)
    store._db.execute("UPDATE deliveries SET rung = 9, next_ms = next_ms + 86400000, status = 400")
    receiver = rehearsal(lambda _: None)
    with dispatching(store, receiver.url):
        store.record(life.apply(scene.batch(scene.change(Change.AGAIN, T0 + S))), 2)
        until(lambda: receiver.counts["received"] == 2, "both delivered")


def test_a_flood_does_not_hold_up_a_fire(store: Store, rehearsal: Callable[..., Receiver]) -> None:
    """A receiver that hangs on ordinary alerts still gets level Ⅰ on the lane kept free."""
    release = threading.Event()
    hanging: list[str] = []

    def hang(event: dict[str, Any]) -> None:
        if event["data"]["severity"] == 4:
            hanging.append(event["id"])
            release.wait(60)

    receiver = rehearsal(hang)
    with dispatching(store, receiver.url) as dispatcher:
        store.record(scene.flood(20), 1)
        until(lambda: len(hanging) >= LANES - 1, "ordinary lanes are taken")
        store.record([scene.fire()], 2)
        until(lambda: receiver.counts["received"] == 1, "the fire passes")
        assert dispatcher.counts["failed_no_answer"] == 0, "it waited for a time-out"
        release.set()
        until(lambda: receiver.counts["received"] == 21, "the rest follows")


def test_unknown_secrets_are_refused_by_the_receiver(store: Store, tmp_path: Path) -> None:
    other = Receiver([b"x" * 32], tmp_path / "other.jsonl")
    other.start()
    with dispatching(store, other.url) as dispatcher:
        store.record([scene.fire()], 1)
        until(lambda: dispatcher.counts["failed_401"] >= 1, "refused")
    other.close()

    assert other.counts["received"] == 0
    assert (tmp_path / "other.jsonl").read_bytes() == b""
