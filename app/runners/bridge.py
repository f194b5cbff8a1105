"""The bridge: MQTT to Kafka, stateless, in as many copies as it takes (docs/adr/0010).

A message is acknowledged to the broker, and a pack confirmed to its gateway, once Kafka has the
bundle that holds it. A bridge that dies has promised nothing that it didn't keep: the broker and
the gateways send again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import structlog

from app.stream import admin
from app.stream.bridge_metrics import BridgeMetrics
from app.stream.bundles import Bundle, Bundler, Stamps
from app.stream.outlet import Outlet, Parcel
from app.stream.records import KEPT_BYTES, BadRecord, DeadLetter, decode_ask, encode
from app.stream.routes import Routes, Strangers
from app.stream.settings import StreamSettings, secret
from app.stream.tails import Share, Tail
from contracts import topics
from contracts.log import RecordKind
from contracts.rejects import Refused, Reject
from ingest.message import Message
from ingest.subscriber import FILTERS, BrokerAddress, Subscriber
from ingest.triage import Triaged, triage

GROUP_MESSAGES = 400
GATHER_MS = 2
IDLE_MS = 50
FULL_S = 0.5
QUEUE_BYTES = 16 << 20
"""Taken from the broker and not yet looked at; beyond it the socket isn't read."""
STALE_ASK_MS = 60_000
"""An older ask isn't published: its worker asks again while the packs are missing (proposal)."""
LAST_S = 10.0
"""At the end, how long Kafka has to take what is on its way."""
BACKOFF_S = (0.5, 10.0)
QUIET_S = 3.0
"""Without a message for so long the broker holds nothing more for one who leaves (proposal)."""


class Bridge:
    """`run` it in an event loop; `health` and `metrics` may be asked from any thread."""

    def __init__(
        self, settings: StreamSettings, log: structlog.stdlib.BoundLogger, *, leave: bool = False
    ) -> None:
        """leave: take only what the broker still holds for this bridge, give the session up, end.

        Raises `SettingsError`.
        """
        self._settings, self._log, self._leave = settings, log, leave
        self._end_session = False
        self._topics = settings.layout
        self._routes = Routes(self._topics.log.partitions)
        self.subscriber = _subscriber(settings, leave=leave)
        compression = settings.bridge.compression
        self._outlet = Outlet(settings.kafka, None if compression == "none" else compression)
        self._bundler = Bundler(
            max_bytes=settings.bridge.bundle_bytes, max_age_ms=settings.bridge.bundle_ms
        )
        name = self._topics.assignments.name
        self._assignments = Tail(settings.kafka, name, self._learn)
        self._asks = Share(
            settings.kafka, self._topics.asks.name, f"{settings.topics.prefix}bridges", self._ask
        )
        self._metrics = BridgeMetrics()
        self._strangers = Strangers()
        self._started = False
        self._waits_for = "kafka"

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: then what was taken is brought to Kafka, and the session left behind.

        Raises `TopicsWrong` at the start, and whatever ends one of its parts: nothing is hidden.
        """
        work = [
            asyncio.ensure_future(part)
            for part in (self._assignments.run(), self._asks.run(), self._main(stop))
        ]
        try:
            await _first_end(work)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await self._outlet.close()

    async def _main(self, stop: asyncio.Event) -> None:
        if not await _or_stop(self._layout_is_right(), stop):
            return
        self._waits_for = "the assignments"
        if not await _or_stop(self._assignments.caught_up.wait(), stop):
            return
        if not await _or_stop(self._outlet.connect(), stop):
            return
        self._waits_for = ""
        self.subscriber.start()
        self._started = True
        self._log.info("bridging", assignments=len(self._routes))
        try:
            await self._take_all(stop)
            await self._bring_the_rest()
        finally:
            await asyncio.to_thread(self.subscriber.stop, end_session=self._end_session)

    async def _layout_is_right(self) -> None:
        """While Kafka is away there is nothing to compare. Raises `TopicsWrong`."""
        pause_s = BACKOFF_S[0]
        while True:
            try:
                async with admin.admin(self._settings.kafka) as client:
                    await admin.demand(client, self._topics)
            except (admin.KafkaAway, admin.KafkaError) as error:
                self._waits_for = str(error)[:300]
                self._log.warning("kafka is away", error=str(error)[:300])
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, BACKOFF_S[1])
            else:
                return

    async def _take_all(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until nothing comes any more for one who leaves."""
        heard_s = time.monotonic()
        loop = asyncio.get_running_loop()
        most = self._settings.bridge.waiting_bytes
        with ThreadPoolExecutor(1, "bridge-taker") as taker:
            while not stop.is_set():
                self._check_parts()
                # Nothing more is taken until Kafka has taken its part: the broker keeps it.
                if not await self._outlet.room(most, FULL_S):
                    self._send(self._bundler.due(_now_ms()))
                    continue
                wait_ms = self._bundler.wait_ms(_now_ms())
                idle = IDLE_MS if wait_ms is None else min(IDLE_MS, int(wait_ms) + 1)
                take = partial(self.subscriber.take, GROUP_MESSAGES, idle, GATHER_MS)
                messages = await loop.run_in_executor(taker, take)
                self._sort(messages)
                self._send(self._bundler.due(_now_ms()))
                if messages or not self._is_quiet():
                    heard_s = time.monotonic()
                if self._leave and time.monotonic() - heard_s > QUIET_S:
                    self._log.info("the broker holds nothing more for this bridge")
                    self._end_session = True
                    return

    def _is_quiet(self) -> bool:
        """Whether the broker adds nothing, and all that it has sent is acknowledged."""
        subscriber = self.subscriber
        return (
            subscriber.connected
            and subscriber.has_left.is_set()
            and not (subscriber.queued or self._outlet.waiting_bytes)
        )

    def _check_parts(self) -> None:
        """Whatever ends a part by an exception ends the bridge."""
        for error in self._outlet.faults:
            raise error
        if not self.subscriber.alive:
            raise RuntimeError("the subscriber's thread has ended")

    async def _bring_the_rest(self) -> None:
        """What came up to now; what comes later the broker keeps."""
        self._sort(self.subscriber.take(self.subscriber.queued, 0, 0))
        self._send(self._bundler.rest())
        if not await self._outlet.room(1, LAST_S):
            self._log.warning(
                "ended with messages that Kafka hasn't: they come again",
                bytes=self._outlet.waiting_bytes,
            )

    def _sort(self, messages: list[Message]) -> None:
        stamps = Stamps(time.time_ns() // 1_000_000, _now_ms())
        for message in messages:
            try:
                found = triage(message.topic, message.payload)
            except Refused as refused:
                self._refuse(message, refused.reject, stamps.wall_ms)
                continue
            self._bundler.add(self._partition(found), message, found, stamps)

    def _partition(self, found: Triaged) -> int:
        if found.kind is RecordKind.FOREIGN:
            return self._routes.of_grid(topics.parse_foreign(found.source).grid)
        if len(self._routes) and not self._routes.is_assigned(found.source):
            self._strangers.saw(found.source, time.monotonic())
        return self._routes.of_gateway(found.source)

    def _send(self, bundles: list[Bundle]) -> None:
        for bundle in bundles:
            self._outlet.put(
                Parcel(
                    self._topics.log.name, bundle.partition, bundle.key(), bundle.value(),
                    partial(self._arrived, bundle),
                )
            )  # fmt: skip

    def _arrived(self, bundle: Bundle) -> None:
        """Kafka has it."""
        self.subscriber.ack(bundle.messages)
        for topic, payload in bundle.confirms():
            self.subscriber.publish(topic, payload)
        metrics = self._metrics
        metrics.took.observe((_now_ms() - bundle.opened_ms) / 1000)
        metrics.bundle_bytes.observe(bundle.size)
        metrics.messages.labels("logged").inc(len(bundle.messages))

    def _refuse(self, message: Message, why: Reject, at_ms: int) -> None:
        """Kept with its reason and bytes; acknowledged once it is."""
        letter = DeadLetter(
            by="bridge",
            at_ms=at_ms,
            source=message.topic,
            reason=why.reason.value,
            field=why.field,
            detail=why.detail,
            row=why.row,
            size=len(message.payload),
            payload=message.payload[:KEPT_BYTES],
        )

        def done() -> None:
            self.subscriber.ack([message])
            self._metrics.messages.labels("refused").inc()
            self._metrics.refused.labels(why.reason.value).inc()

        key = message.topic.encode(errors="replace")[:512]
        self._outlet.put(Parcel(self._topics.letters.name, 0, key, encode(letter), done))

    def _learn(self, record: Any) -> None:
        try:
            self._routes.learn(record.key, record.value)
        except BadRecord as error:
            self._metrics.bad_records.labels("assignments").inc()
            self._log.error("assignment not understood", offset=record.offset, error=str(error))

    def _ask(self, record: Any) -> None:
        """Publish a worker's command; only ever to a gateway's own command topic."""
        outcomes = self._metrics.asks
        try:
            ask = decode_ask(record.value or b"")
            if ask.topic != topics.cmd(topics.gateway_of(ask.topic)):
                raise BadRecord(f"{ask.topic[:120]} is no command topic")
        except (BadRecord, Refused) as error:
            outcomes.labels("refused").inc()
            self._log.error("ask not understood", offset=record.offset, error=str(error))
            return
        # Both by Kafka's clock: neither a worker's nor a bridge's own may make asks stale.
        now_ms = time.time_ns() // 1_000_000 + self._outlet.ahead_ms
        if now_ms - (ask.at_ms or record.timestamp) > STALE_ASK_MS:
            outcomes.labels("stale").inc()
            return
        sent = self.subscriber.connected
        self.subscriber.publish(ask.topic, bytes(ask.payload), 1)
        outcomes.labels("published" if sent else "no broker").inc()

    def health(self) -> dict[str, Any]:
        """ok: messages get through. ready: it has all that it needs to let them through."""
        outlet, subscriber = self._outlet, self.subscriber
        oldest_s = outlet.oldest_s()
        stuck = oldest_s > self._settings.bridge.stuck_s
        problems = [
            text
            for wrong, text in (
                (bool(self._waits_for), f"waiting for {self._waits_for}"),
                (
                    self._started and not subscriber.connected,
                    f"no MQTT broker: {subscriber.last_error or 'connecting'}",
                ),
                (
                    self._started and not outlet.connected,
                    f"kafka is away: {outlet.last_error or 'connecting'}",
                ),
                (stuck, f"kafka has not acknowledged for {oldest_s:.0f} s"),
            )
            if wrong
        ]
        return {
            "ok": not problems,
            "ready": self._started and not problems,
            "problems": problems,
            "mqtt": {"connected": subscriber.connected, "queued": subscriber.queued},
            "kafka": {
                "connected": outlet.connected,
                "oldest_s": round(oldest_s, 3),
                "waiting_bytes": outlet.waiting_bytes,
            },
            "assignments": len(self._routes),
            "unassigned": self._strangers.names(time.monotonic()),
        }

    def metrics(self) -> bytes:
        unassigned = len(self._strangers.names(time.monotonic()))
        return self._metrics.exposition(
            self._outlet, self.subscriber, len(self._routes), unassigned
        )


def _subscriber(settings: StreamSettings, *, leave: bool) -> Subscriber:
    """Raises `SettingsError`."""
    mqtt = settings.mqtt
    address = BrokerAddress(
        mqtt.host,
        mqtt.port,
        mqtt.username,
        secret(mqtt.password_file),
        mqtt.tls,
        str(mqtt.ca_file or ""),
    )
    return Subscriber(
        address,
        client_id=mqtt.named,
        max_bytes=QUEUE_BYTES,
        receive_maximum=mqtt.receive_maximum,
        session_s=mqtt.session_s,
        filters=[f"$share/{mqtt.share}/{name}" for name in FILTERS],
        leaving=leave,
    )


def _now_ms() -> float:
    return time.monotonic_ns() / 1_000_000


async def _or_stop(work: Coroutine[Any, Any, Any], stop: asyncio.Event) -> bool:
    """Whether the work was done before `stop`. Raises what it raises."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
            return not stop.is_set()
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first_end(work: Sequence[asyncio.Future[Any]]) -> None:
    """Until the first part ends: the main one by `stop`, any by an exception, which is raised."""
    done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
