"""Contents that nobody can want again leave the topic."""

from __future__ import annotations

from app.stream.contents import ContentIndex
from app.stream.post import Post
from app.stream.publication import needless
from app.stream.publishing import known
from app.stream.settings import StreamSettings
from app.stream.topics import DAY_MS


async def forget_contents(
    settings: StreamSettings, index: ContentIndex, post: Post, now_ms: int
) -> list[str]:
    """Take back what is needless; gives the hashes. Two that do it at once do no harm.

    Raises `KafkaError`, OSError, TimeoutError.
    """
    topics, found = settings.layout, await known(settings)
    names = needless(
        index.hashes(),
        index.written_ms,
        found.published,
        found.told,
        partitions=topics.log.partitions,
        now_ms=now_ms,
        kept_ms=int(settings.topics.log_days * DAY_MS),
    )
    for name in names:
        await post.send([(topics.content.name, 0, key, None) for key in index.keys(name)])
    return names
