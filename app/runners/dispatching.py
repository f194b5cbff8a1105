"""One copy of dispatch beside Kafka: store, API, page and, while it is its turn, deliveries."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from app.logs import logger
from app.metrics import Metrics
from app.runners.deliveries import filters, start_dispatcher, webhooks
from app.runners.threads import Failure, spawn
from app.runners.web import Web
from app.stream.desk import Desk, DeskError
from app.stream.settings import StreamSettings, secret
from dispatch.api import create_api
from dispatch.deliver.live import Broadcaster
from dispatch.deliver.mqtt import BrokerAddress as AlertBroker
from dispatch.dispatcher import Dispatcher, Pulse
from dispatch.keys import KeyRing, console_file, key_file, page_url
from dispatch.store import Store

LAGGING_MS = 10_000
"""A partition that has told nothing for so long counts as stopped (proposal)."""
PAGE_DIR = Path(__file__).parents[1] / "console"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class DispatchServer:
    """Start it, wait for `failure.stopping`, stop it. What it opened is closed in reverse.

    Its store is filled from Kafka: a lost one is filled again, and nothing is told twice but
    what was under way.
    """

    def __init__(self, settings: StreamSettings, say: Callable[[str], None]) -> None:
        self.settings, self._say = settings, say
        self.failure = Failure()
        self.metrics = Metrics()
        self._log = logger("dispatch")
        self._stack = ExitStack()
        self._live = Broadcaster()
        self._dispatcher: Dispatcher | None = None
        self._deliver = threading.Lock()

    def start(self) -> None:
        """Raises the typed errors of what it starts; the verb turns them into one line."""
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise

    def _open(self) -> None:
        settings, keep = self.settings, self._stack.callback
        self.web = Web(settings.console.host, settings.console.port)
        keep(self.web.stop)
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.store = Store(settings.data / "dispatch.db")
        keep(self.store.close)
        self._hooks = webhooks(settings)
        self.store.set_receivers(filters(settings, self._hooks))
        keep(self._live.close)
        self.store.subscribe(self._live.publish)
        self.desk = Desk(
            settings,
            self.store,
            lead=self._begin_delivering,
            follow=self._end_delivering,
            switched=self._wake,
            clock=now_ms,
            logger=self._log,
        )
        self.store.outbox.journal = self.desk.tell
        keep(self._end_delivering)
        keep(self.desk.stop)
        keys = KeyRing(key_file(settings.data))
        self._console_key = keys.console_key(self.console_key_file)
        api = create_api(
            self.store,
            self.desk.submit,
            self._live,
            self.health,
            self._exposition,
            keys,
            PAGE_DIR,
            enable=self._enable,
        )
        self.desk.start()
        self.web.serve(api)
        self._say(f"page and API on {self.web.url}")
        spawn("watching", self._watch, self.failure, self._log)

    @property
    def page_url(self) -> str:
        """The address of the live page, with the local key behind "#"."""
        return page_url(self.web.url, self._console_key)

    @property
    def console_key_file(self) -> Path:
        return console_file(self.settings.data)

    def stop(self) -> None:
        """Hand over and close everything. Safe after a failure."""
        self.failure.stopping.set()
        self._stack.close()

    # Delivering, while it is this copy's turn

    def _begin_delivering(self) -> None:
        mqtt = self.settings.mqtt
        address = AlertBroker(
            host=mqtt.host,
            port=mqtt.port,
            username=mqtt.username,
            password=secret(mqtt.password_file),
            tls=mqtt.tls,
            ca_file=str(mqtt.ca_file or ""),
        )
        with self._deliver:
            self._dispatcher = start_dispatcher(
                self.settings,
                self.store,
                self._hooks,
                address,
                pulse=self._pulse,
                alarm=self._alarm,
                metrics=self.metrics,
            )

    def _end_delivering(self) -> None:
        with self._deliver:
            dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.stop()

    def _wake(self) -> None:
        with self._deliver:
            if self._dispatcher is not None:
                self._dispatcher.wake()

    def _enable(self, receiver: str) -> bool:
        """On any copy: the mark brings it to the one that delivers."""
        known = self.store.outbox.enable(receiver, now_ms())
        self._wake()
        return known

    def _alarm(self, receiver: str, since_ms: int | None) -> None:
        failing = since_ms is not None
        log = self._log.error if failing else self._log.info
        log("urgent delivery failing" if failing else "urgent delivery works", to=receiver)
        self._live.delivery_failing(receiver, since_ms)

    def _pulse(self) -> Pulse:
        return Pulse(self.desk.position(), self.desk.lag_ms(now_ms()))

    def _watch(self) -> None:
        """What ends without being asked takes the process down: what starts it starts all."""
        while not self.failure.stopping.wait(0.5):
            if not self.desk.alive:
                failed = self.desk.failed
                why = str(failed) if isinstance(failed, DeskError) else "the desk's thread ended"
                self.failure.report(why)
            dispatcher = self._dispatcher
            if dispatcher is not None and not dispatcher.alive and self.desk.leads:
                self.failure.report("the dispatcher's thread ended")
            if not self.web.alive:
                self.failure.report("the web server's thread ended")

    # What others ask

    def health(self) -> dict[str, Any]:
        """ok: nothing is wrong. ready: it follows Kafka, so it could deliver."""
        desk, dispatcher = self.desk, self._dispatcher
        lag_ms = desk.lag_ms(now_ms())
        delivery = {"ok": True, "receivers": []} if dispatcher is None else dispatcher.health()
        problems = [
            text
            for wrong, text in (
                (bool(desk.away), f"no kafka: {desk.away}"),
                (lag_ms > LAGGING_MS, f"a partition has decided nothing for {lag_ms} ms"),
                (not delivery["ok"], "an urgent alert can't be delivered"),
            )
            if wrong
        ]
        return {
            "ok": not problems,
            "ready": not desk.away,
            "problems": problems,
            "delivers": desk.leads,
            "position": desk.position(),
            "lag_ms": lag_ms,
            "dispatch": delivery,
            "simulated": False,
        }

    def _exposition(self) -> bytes:
        self.metrics.show_judged(self.store.queries.judged())
        dispatcher = self._dispatcher
        self.metrics.show("desk", {**self.desk.counts, "delivers": int(self.desk.leads)})
        self.metrics.show("dispatch", {} if dispatcher is None else dispatcher.counts)
        self.metrics.show("dispatch_store", self.store.queries.counters())
        self.metrics.watermark_lag.set(self.desk.lag_ms(now_ms()) / 1000)
        return self.metrics.exposition()
