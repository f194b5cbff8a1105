"""A benchmark on a machine that lacks what it measures says so in one line."""

from __future__ import annotations

import os

from tests.app.running import gridwarden


def test_without_java_it_says_what_to_install() -> None:
    env = {**os.environ, "JAVA_HOME": "/no/java", "KAFKA_BOOTSTRAP": ""}
    done = gridwarden("bench", "kafka", "--quick", "--json", env=env)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("gridwarden: bench kafka: Apache Kafka: Java 17 is missing")
    assert "KAFKA_BOOTSTRAP" in done.stderr
    assert len(done.stderr.splitlines()) == 1
