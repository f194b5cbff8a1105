"""Apache Kafka for tests: the broker that benchmarks start too."""

from __future__ import annotations

from app.bench import kafka_part
from app.bench.kafka_part import Kafka, KafkaMissing, named_bootstrap
from tests.parts.tools import MissingTool

__all__ = ["Kafka", "java_and_jars", "named_bootstrap"]


def java_and_jars() -> None:
    """Raises `MissingTool` with what to do."""
    try:
        kafka_part.java_and_jars()
    except KafkaMissing as missing:
        raise MissingTool(str(missing)) from None
