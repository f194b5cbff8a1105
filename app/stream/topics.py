"""The Kafka topics, as code: names, partitions and configuration in one place. Pure.

Names are a prefix and a role, `gridwarden.log`. `gridwarden topics apply` makes them so, and every
command that uses them refuses a broker where they are otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

RECORD_BYTES = 8 << 20
"""Largest record of `log`: a pack has 4 MiB at most, and a bundle closes before a second such."""
PIECE_BYTES = 512 << 10
"""Content and snapshots are cut into pieces of this size, below Kafka's default of 1 MiB."""
SMALL_RECORD_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What a site decides. partitions: of `log` and of all that go with it; it can't be changed
    later without moving every cell. replication, min_insync: 3 and 2 on a cluster of three."""

    prefix: str = "gridwarden."
    partitions: int = 8
    replication: int = 1
    min_insync: int = 1
    log_days: float = 7.0
    alerts_days: float = 90.0
    letters_days: float = 14.0
    signals_days: float = 30.0


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. role: its name without the prefix. key, value: what its records are, in words.

    config: Kafka's own names and values, those that gridwarden depends on and no others.
    """

    role: str
    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]
    key: str
    value: str

    @property
    def compacted(self) -> bool:
        """Of each key, the last record stays for ever."""
        return self.config["cleanup.policy"] == "compact"


@dataclass(frozen=True, slots=True)
class Topics:
    """All of them; iterates in the order of the docs."""

    log: Topic
    assignments: Topic
    content: Topic
    snapshots: Topic
    alerts: Topic
    marks: Topic
    pulses: Topic
    letters: Topic
    asks: Topic
    tracks: Topic
    homes: Topic

    def __iter__(self) -> Iterator[Topic]:
        return iter([getattr(self, one.name) for one in fields(self)])


def topics_of(plan: TopicPlan) -> Topics:
    """The topics of a site.

    `log` carries the broker's own append time: it is the bound on what a bridge's clock may say.
    """
    many = plan.partitions
    kept, compacted = _kept, _compacted

    def topic(role: str, partitions: int, config: Mapping[str, str], key: str, value: str) -> Topic:
        safe = {**config, "min.insync.replicas": str(plan.min_insync)}
        name = f"{plan.prefix}{role}"
        return Topic(role, name, partitions, plan.replication, safe, key, value)

    return Topics(
        log=topic(
            "log", many,
            {**kept(plan.log_days, RECORD_BYTES), "message.timestamp.type": "LogAppendTime"},
            "the gateway when all records of the bundle are of one, else empty",
            "a bundle of log records, as `contracts.log` writes it",
        ),
        assignments=topic(
            "assignments", 1, compacted(SMALL_RECORD_BYTES),
            "`gateway/{id}` or `grid/{code}`; `published/{what}/{n}`",
            'JSON `{"partition": n}`; what was last put in force in partition n',
        ),
        content=topic(
            "content", 1, compacted(SMALL_RECORD_BYTES),
            "`{hash}/{i}/{n}`, piece i of n from 0",
            "a piece of a rule set, registry or settings",
        ),
        snapshots=topic(
            "snapshots", many, compacted(SMALL_RECORD_BYTES),
            "see the worker", "chunks of a partition's state, the manifest last",
        ),
        alerts=topic(
            "alerts", many, kept(plan.alerts_days, SMALL_RECORD_BYTES),
            "the grid code", "an alert event, CloudEvents JSON",
        ),
        marks=topic(
            "marks", 1,
            {**kept(plan.alerts_days, SMALL_RECORD_BYTES), "cleanup.policy": "compact,delete"},
            "see `dispatch.journal`", "what the delivering copy of dispatch has done",
        ),
        pulses=topic(
            "pulses", 1, compacted(SMALL_RECORD_BYTES),
            "the partition's number", "how far a partition of `log` is decided",
        ),
        letters=topic(
            "letters", 1, kept(plan.letters_days, SMALL_RECORD_BYTES),
            "where it came from: an MQTT topic, a gateway or a device",
            "JSON: what was refused, why, and its bytes in base64",
        ),
        asks=topic(
            "asks", 1, kept(HOUR_MS / DAY_MS, SMALL_RECORD_BYTES),
            "the gateway", "JSON: the MQTT topic and the command to publish there",
        ),
        tracks=topic(
            "tracks", many, kept(plan.signals_days, RECORD_BYTES),
            "the camera when all is of one, else empty",
            "tracklets that cameras sent, for the detector of falling objects",
        ),
        homes=topic(
            "homes", many, kept(plan.signals_days, RECORD_BYTES),
            "the home when all is of one, else empty",
            "what sensors of homes reported, for the detector of quiet homes",
        ),
    )  # fmt: skip


def _kept(days: float, record_bytes: int) -> dict[str, str]:
    """Records go when they are that old."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(int(days * DAY_MS)),
        "max.message.bytes": str(record_bytes),
        "message.timestamp.type": "CreateTime",
    }


def _compacted(record_bytes: int) -> dict[str, str]:
    """The last record of each key stays. Segments roll often: the active one is never compacted,
    and a snapshot that was written over is dead weight for every recovery."""
    return {
        "cleanup.policy": "compact",
        "max.message.bytes": str(record_bytes),
        "message.timestamp.type": "CreateTime",
        "segment.ms": str(10 * MINUTE_MS),
        "min.cleanable.dirty.ratio": "0.2",
    }
