"""A content as it stands in its topic, whenever it comes."""

from __future__ import annotations

import asyncio

import structlog
from aiokafka.errors import KafkaError

from app.stream.contents import ContentIndex, read_content
from app.stream.ranges import RangeReader

AGAIN_S = 1.0


async def fetched(
    reader: RangeReader,
    topic: str,
    index: ContentIndex,
    logger: structlog.stdlib.BoundLogger,
    name: str,
) -> bytes:
    """The bytes of a content, once they are there and can be read."""
    while True:
        try:
            content = await read_content(reader, topic, await index.there(name), name)
        except (KafkaError, OSError, TimeoutError) as error:
            # Its partition stands meanwhile, and says so.
            logger.error("a content can't be read", content=name, why=str(error))
            await asyncio.sleep(AGAIN_S)
            continue
        if content is not None:
            return content
        logger.error("a content isn't what its hash says", content=name)
        index.forget(name)
