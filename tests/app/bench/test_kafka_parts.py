"""`bench kafka` measures in parts; one that fails takes nothing from the others."""

from __future__ import annotations

import pytest

pytest.importorskip("aiokafka")

from app.bench.kafka import measure
from app.bench.rig import RigError


def test_a_part_that_fails_is_told_and_the_others_are_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures: dict[str, float] = {}

    def away() -> dict[str, float]:
        raise RigError("the worker has no partitions")

    parts = [
        ("first", lambda: {"a": 1.0}),
        ("recovery", away),
        ("half", lambda: {"b": figures["a"] / 2}),
        ("of what failed", lambda: {"c": figures["missing"]}),
    ]
    failed = measure(parts, figures)
    assert figures == {"a": 1.0, "b": 0.5}
    assert failed == {
        "recovery": "RigError: the worker has no partitions",
        "of what failed": "KeyError: 'missing'",
    }
    assert "recovery: RigError: the worker has no partitions" in capsys.readouterr().err
