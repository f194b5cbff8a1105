"""Whose a derived quantity is: by that its state finds the changed rule that goes on with it.

An owner is a machine row, with the kind of the derived quantity, which of that kind it is in the
rule, and which way its conditions look: `efire.high/ Debounced 0 voltage >`. Other rules of the
same quantities are other owners, and so is a rule whose comparison was turned round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rules.expr.directions import directions
from rules.expr.plan import Derived

Columns: TypeAlias = Mapping[str, NDArray[Any]]
OWNERS = "owners"
"""Column of kept state: the owners as UTF-8, one a line."""


def owned_by(
    names: Mapping[str, Iterable[str]], derived: Mapping[str, Derived]
) -> dict[str, tuple[str, ...]]:
    """names: of derived quantities by machine row, in the order of writing."""
    found: dict[str, list[str]] = {name: [] for name in derived}
    for owner, mine in names.items():
        number: Counter[str] = Counter()
        for name in mine:
            one = derived[name]
            kind = type(one).__name__
            looks = "; ".join(directions(condition) for condition in one.conditions)
            found[name].append(f"{owner} {kind} {number[kind]} {looks}".rstrip())
            number[kind] += 1
    return {name: tuple(sorted(owners)) for name, owners in found.items()}


def column_of(owners: tuple[str, ...]) -> NDArray[np.uint8]:
    return np.frombuffer("\n".join(owners).encode(), np.uint8)


def predecessors(owners: tuple[str, ...], kept: Mapping[str, Columns]) -> list[Columns]:
    """Of kept state under other names, what the owners had before, each once: their own, else what
    their rule had where it is a variant now. Owners that had nothing have no say."""
    by_owner = {owner: name for name in sorted(kept) for owner in _owners(kept[name])}
    found = (by_owner.get(owner, by_owner.get(_of_rule(owner))) for owner in owners)
    return [kept[name] for name in dict.fromkeys(found) if name is not None]


def _owners(columns: Columns) -> list[str]:
    column = columns.get(OWNERS)
    return [] if column is None else column.astype(np.uint8).tobytes().decode().splitlines()


def _of_rule(owner: str) -> str:
    """The same of the rule that it is a variant of."""
    name, slash, rest = owner.partition("/")
    return name.partition("@")[0] + slash + rest
