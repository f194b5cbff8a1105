"""faust: the one place that knows it.

It divides the partitions among the workers of a group, reads them and tells when they come and go.
What it keeps for itself is not needed: state is in our snapshots, outputs go by a producer of our
own, and reading begins where the state says, whatever the group has committed. The committed offset
only shows others how far we are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from yarl import URL

from app.stream.client import ssl_context
from app.stream.lane import Waiting
from app.stream.settings import KafkaSettings, StreamSettings, secret
from app.stream.topics import RECORD_BYTES, Topic
from ingest.partition import Bundle

BUFFER_RECORDS = 64
"""Records between faust and the lanes (proposal)."""


class Consumer(driver.Consumer):
    """Reads on from where the lanes are, instead of from what the group has committed."""

    async def perform_seek(self) -> None:
        app = cast(App, self.app)
        here = {tp.partition: tp for tp in self.assignment() if tp.topic == app.log_topic}
        known = app.positions(here)
        # Those that are still being taken over are read once they are.
        self.pause_partitions({tp for number, tp in here.items() if number not in known})
        for number, offset in known.items():
            await self.seek_on(here[number], offset)

    async def seek_on(self, tp: TP, offset: int) -> None:
        await self.seek(tp, offset)
        self._committed_offset[tp] = offset or None


class Transport(driver.Transport):
    Consumer = Consumer


class App(faust.App):
    """log_topic: what is read. positions: of those partitions that are taken over, the offset to
    read on from; to be set before the start."""

    log_topic = ""
    positions: Callable[[Iterable[int]], dict[int, int]]


class FaustReading:
    """What lanes have of faust's consumer. A rebalance that is under way seeks for itself."""

    def __init__(self, app: App) -> None:
        self._app = app

    def _here(self, number: int) -> set[TP]:
        tp = TP(self._app.log_topic, number)
        return {tp} & set(self._app.consumer.assignment())

    async def resume(self, number: int, offset: int) -> None:
        consumer = cast(Consumer, self._app.consumer)
        for tp in self._here(number):
            await consumer.seek_on(tp, offset)
            consumer.resume_partitions({tp})

    def hold(self, number: int) -> None:
        self._app.consumer.pause_partitions(self._here(number))


def make_app(settings: StreamSettings) -> App:
    kafka, worker = settings.kafka, settings.worker
    session_s = worker.session_s
    app = App(
        settings.workers,
        broker=[URL(f"aiokafka://{server}") for server in kafka.servers],
        broker_credentials=_credentials(kafka),
        broker_session_timeout=session_s,
        broker_heartbeat_interval=max(1.0, session_s / 10),
        broker_request_timeout=max(40.0, session_s + 10),
        broker_rebalance_timeout=max(60.0, session_s),
        consumer_group_instance_id=worker.instance or None,
        # faust's own assignor leaves partitions where they are when workers come and go. What it
        # tells the group of itself is another thing after a restart, though, which makes Kafka
        # divide anew; so who has a name goes by the plain assignor (it takes it without standbys).
        table_standby_replicas=0 if worker.instance else 1,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=RECORD_BYTES,
        stream_buffer_maxsize=BUFFER_RECORDS,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        store="memory://",
    )
    app.log_topic = settings.layout.log.name
    app.transport = Transport(app.conf.broker_consumer, app)
    return app


def _credentials(kafka: KafkaSettings) -> Any:
    context = ssl_context(kafka)
    if kafka.sasl:
        return faust.SASLCredentials(
            username=kafka.username,
            password=secret(kafka.password_file),
            ssl_context=context,
            mechanism=kafka.sasl,
        )
    return None if context is None else faust.SSLCredentials(context)


def wire(
    app: App,
    topic: Topic,
    *,
    put: Callable[[int, Waiting], Awaitable[None]],
    pause: Callable[[], None],
    own: Callable[[set[int]], None],
) -> None:
    """Have the lanes told: what comes, that the group is being divided, and what is ours then."""
    log = app.topic(
        topic.name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        partitions=topic.partitions,
        allow_empty=True,
    )

    async def read(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            bundle = Bundle(message.offset, round(message.timestamp * 1000), message.value)
            await put(message.partition, Waiting(bundle, event.ack))

    app.agent(log, name="log", concurrency=1)(read)

    async def on_revoked(_app: Any, *_: Any, **__: Any) -> None:
        pause()

    async def on_divided(_app: Any, *_: Any, **__: Any) -> None:
        mine = {tp.partition for tp in app.consumer.assignment() if tp.topic == topic.name}
        own(mine)

    # Its types want a parameter that it never gives.
    cast(Any, app.on_partitions_revoked).connect(on_revoked)
    cast(Any, app.on_rebalance_complete).connect(on_divided)
