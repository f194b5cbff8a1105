"""Whose turn it is to deliver."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiokafka.admin import AIOKafkaAdminClient

from app.stream.desk import Desk
from app.stream.settings import KafkaSettings, StreamSettings, TopicSettings
from contracts.alerts import AlertEvent
from dispatch.store import Recorded, Store
from tests.app.running import until
from tests.app.stream.test_dispatch import PARTITIONS, site_on
from tests.dispatch import scene

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
LOOKS = 20


class SlowStore(Store):
    """Reads nothing in until it may."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.began, self.may = threading.Event(), threading.Event()

    def record(self, events: Sequence[AlertEvent], *args: Any, **kwargs: Any) -> Recorded:
        self.began.set()
        self.may.wait(60)
        return super().record(events, *args, **kwargs)


def members(bootstrap: str, group: str) -> int:
    """How many stand for election."""

    async def asked() -> int:
        client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await client.start()
        try:
            (reply,) = await client.describe_consumer_groups([group])
            return len(next(one for one in reply.groups[0] if isinstance(one, list)))
        finally:
            await client.close()

    return asyncio.run(asked())


def test_a_copy_that_has_much_to_read_takes_nobodys_turn(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    settings = StreamSettings(
        kafka=KafkaSettings(bootstrap=kafka),
        topics=TopicSettings(prefix=topic_prefix, partitions=PARTITIONS),
    )
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()

    def desk(store: Store) -> Desk:
        return Desk(
            settings, store, lead=lambda: None, follow=lambda: None, switched=lambda: None,
            clock=lambda: scene.T0, logger=logger,
        )  # fmt: skip

    with site_on(tmp_path, kafka, topic_prefix) as site:
        site.send([scene.fire()])
        stores = [Store(tmp_path / "one.db"), SlowStore(tmp_path / "two.db")]
        old, new = map(desk, stores)
        try:
            old.start()
            until(lambda: old.leads, "one delivers")
            new.start()
            slow = stores[1]
            assert isinstance(slow, SlowStore)
            until(slow.began.is_set, "the other reads")
            group = f"{topic_prefix}dispatch"
            assert [members(kafka, group) for _ in range(LOOKS)] == [1] * LOOKS
            assert old.leads
            slow.may.set()
            until(lambda: members(kafka, group) == 2, "it stands when it has read")
        finally:
            stores[1].may.set()  # type: ignore[attr-defined]
            for one in (old, new):
                one.stop()
            for store in stores:
                store.close()
