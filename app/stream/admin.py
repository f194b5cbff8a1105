"""The topics as they are on a broker, beside the topics as they should be; and making them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from app.stream.client import client_options
from app.stream.settings import KafkaSettings
from app.stream.topics import Topic

REQUEST_MS = 20_000
SEEN_S = 20.0
"""How long a new topic may take until the brokers name it."""


class KafkaAway(Exception):
    """No broker answers; the text says which were asked."""


class TopicsWrong(Exception):
    """Topics aren't as they must be. faults: one line each, with the mend."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
        super().__init__(f"{self.faults[0]}{more}")


@dataclass(frozen=True, slots=True)
class Found:
    """A topic on the broker. config: all of Kafka's names and values."""

    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """One topic: `missing`, or what is wrong with it, one line each with the mend."""

    topic: Topic
    missing: bool
    faults: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not self.missing and not self.faults


@asynccontextmanager
async def admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started client. Raises `KafkaAway`, `SettingsError`."""
    client = AIOKafkaAdminClient(request_timeout_ms=REQUEST_MS, **client_options(settings))
    try:
        await client.start()
        yield client
    except (KafkaConnectionError, OSError) as error:
        raise KafkaAway(f"kafka at {settings.bootstrap}: {error}; is it running?") from None
    finally:
        await client.close()


async def compare(client: AIOKafkaAdminClient, topics: Iterable[Topic]) -> list[Compared]:
    """Each topic beside what the broker has. Raises `KafkaError`."""
    wanted = list(topics)
    found = await _found(client, [topic.name for topic in wanted])
    return [compared(topic, found.get(topic.name)) for topic in wanted]


def compared(topic: Topic, found: Found | None) -> Compared:
    """Pure: what is wrong with what was found, None = there is no such topic."""
    if found is None:
        return Compared(topic, missing=True)
    faults = []
    if found.partitions != topic.partitions:
        faults.append(
            f"{topic.name}: {found.partitions} partitions, the settings say {topic.partitions}; "
            f"set topics.partitions to what is there, or lay out new topics under another prefix"
        )
    if found.replication < topic.replication:
        faults.append(
            f"{topic.name}: {found.replication} copies, the settings say {topic.replication}; "
            "have Kafka's kafka-reassign-partitions add copies, or correct topics.replication"
        )
    for name, value in topic.config.items():
        has = found.config.get(name, "")
        if has != value:
            faults.append(
                f"{topic.name}: {name} is {has or 'not set'}, must be {value}; run "
                f"kafka-configs --alter --topic {topic.name} --add-config {name}={value}"
            )
    return Compared(topic, missing=False, faults=tuple(faults))


async def apply(client: AIOKafkaAdminClient, topics: Iterable[Topic]) -> list[str]:
    """Make what is missing; gives the names. What is there otherwise stays as it is.

    Raises `KafkaError`, `TopicsWrong`.
    """
    missing = [one.topic for one in await compare(client, topics) if one.missing]
    if not missing:
        return []
    reply = await client.create_topics([_new(topic) for topic in missing], timeout_ms=REQUEST_MS)
    refused = [
        f"{name}: not made: {why or for_code(code).__name__}; mend it and run it again"
        for name, code, why in reply.topic_errors
        if code not in (0, TopicAlreadyExistsError.errno)
    ]
    if refused:
        raise TopicsWrong(refused)
    await _seen(client, missing)
    return [topic.name for topic in missing]


async def demand(client: AIOKafkaAdminClient, topics: Iterable[Topic]) -> None:
    """For whoever is about to use them. Raises `TopicsWrong`, `KafkaError`."""
    faults: list[str] = []
    for one in await compare(client, topics):
        faults += one.faults
        if one.missing:
            faults.append(f"{one.topic.name}: no such topic; run gridwarden topics apply")
    if faults:
        raise TopicsWrong(faults)


def _new(topic: Topic) -> NewTopic:
    return NewTopic(
        topic.name, topic.partitions, topic.replication, topic_configs=dict(topic.config)
    )


async def _seen(client: AIOKafkaAdminClient, topics: list[Topic]) -> None:
    """A broker answers before all know a new topic: wait until it has its leaders."""
    deadline = asyncio.get_running_loop().time() + SEEN_S
    while any(one.missing for one in await compare(client, topics)):
        if asyncio.get_running_loop().time() > deadline:
            raise TopicsWrong([f"{topics[0].name}: made, but not seen after {SEEN_S:.0f} s"])
        await asyncio.sleep(0.1)


async def _found(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, Found]:
    here = set(await client.list_topics()) & set(names)
    if not here:
        return {}
    configs = await _configs(client, sorted(here))
    found = {}
    for one in await client.describe_topics(sorted(here)):
        parts = one["partitions"]
        if one["error_code"] or not parts or any(part["leader"] < 0 for part in parts):
            continue
        copies = min(len(part["replicas"]) for part in parts)
        found[one["topic"]] = Found(len(parts), copies, configs.get(one["topic"], {}))
    return found


async def _configs(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for reply in await client.describe_configs(asked):
        for code, why, _, name, entries in reply.resources:
            if code:
                raise for_code(code)(why)
            configs[name] = {str(entry[0]): _text(entry[1]) for entry in entries}
    return configs


def _text(value: Any) -> str:
    return "" if value is None else str(value)


__all__ = ["Compared", "Found", "KafkaAway", "KafkaError", "TopicsWrong", "admin", "apply",
           "compare", "compared", "demand"]  # fmt: skip
