"""What travels between the stages of group rules, and what is refused on arrival."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.operator import Progress
from contracts.predicates import (
    COLUMNS,
    PredicateBatch,
    PredicateError,
    decode_predicates,
    encode_predicates,
)
from tests.contracts.test_groups import T0, directory

NAMES = ("smoke.two//0", "smoke.two//1")


def batch() -> PredicateBatch:
    columns = {
        "predicate": [1, 0, 1],
        "device": [2, 0, 2],
        "ts_ms": [T0, T0 + 1, T0 + 9],
        "verdict": [2, 1, 3],
        "flags": [0, 16, 0],
        "heard_ms": [T0 + 5, T0 + 6, T0 + 20],
        "position": [3, 4, -1],
        "row": [0, 7, -1],
    }
    return PredicateBatch(**{n: np.array(columns[n], dtype) for n, dtype in COLUMNS.items()})


def encoded() -> bytes:
    progress = Progress(11, T0 + 30, np.array([T0 + 10, T0 + 3]))
    return encode_predicates(batch(), progress, predicates=NAMES, directory=directory())


def test_arrives_as_it_left_under_other_rows() -> None:
    here = {name: row for row, name in enumerate(reversed(NAMES))}

    got, watermarks, unknown = decode_predicates(encoded(), predicates=here, directory=directory())

    want = batch()
    assert [NAMES[1 - number] for number in got.predicate.tolist()] == [
        NAMES[number] for number in want.predicate.tolist()
    ]
    for name in COLUMNS:
        if name != "predicate":
            assert getattr(got, name).tolist() == getattr(want, name).tolist()
            assert getattr(got, name).dtype == COLUMNS[name]
    assert watermarks == {"gw-0": T0 + 10, "gw-1": T0 + 3}
    assert unknown == 0


def test_what_is_unknown_here_is_counted() -> None:
    got, _, unknown = decode_predicates(encoded(), predicates={NAMES[0]: 0}, directory=directory())
    assert (len(got), unknown) == (1, 2)


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_damaged_bytes_are_refused(cut: int) -> None:
    with pytest.raises(PredicateError):
        decode_predicates(encoded()[:cut], predicates={}, directory=directory())
