"""Which variants the overrides of one rule make: every device meets exactly one.

A variant is a set of `Where`s that some device may fit all of, with the rest of them fitting
it not. Overrides are taken in their order, lower layers first, and of each value the last
override that sets it counts; so a street changes what it names, and keeps what the district said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.rulebook import Where
from rules.overrides import WrittenOverride

MOST_VARIANTS = 64
"""Of one rule: each costs machine rows of its own, over all devices of the family."""


@dataclass(frozen=True, slots=True)
class Variant:
    """where: all of which its devices fit; beside: none of which. overrides: that apply there, in
    their order. The rule itself is the variant whose where is ()."""

    where: tuple[Where, ...]
    beside: tuple[Where, ...]
    overrides: tuple[WrittenOverride, ...]

    @property
    def name(self) -> str:
        return "+".join(where.name for where in self.where)


class TooMany(Exception):
    """The overrides of a rule make more variants than `MOST_VARIANTS`."""


def variants_of(overrides: Sequence[WrittenOverride]) -> tuple[Variant, ...]:
    """The rule itself first. Raises `TooMany`."""
    wheres = list(dict.fromkeys(one.where for one in overrides if one.where is not None))
    wheres.sort(key=lambda where: where.name)
    sets: list[tuple[Where, ...]] = [()]
    for where in wheres:
        joined = [(*known, where) for known in sets]
        sets += [one for one in joined if _meet(one) is not None]
        if len(sets) > 16 * MOST_VARIANTS:
            raise TooMany
    closed = [one for one in sets if _is_closed(one, wheres)]
    if len(closed) > MOST_VARIANTS:
        raise TooMany
    return tuple(_variant(one, closed, overrides) for one in closed)


def _variant(
    where: tuple[Where, ...],
    all_: Sequence[tuple[Where, ...]],
    overrides: Sequence[WrittenOverride],
) -> Variant:
    # Only a finer variant can take devices away: what is wider is in `where` already.
    finer = [one for one in all_ if set(where) < set(one)]
    beside = dict.fromkeys(added for one in finer for added in one if added not in where)
    applying = tuple(one for one in overrides if one.where is None or one.where in where)
    return Variant(where, tuple(sorted(beside, key=lambda one: one.name)), applying)


def _is_closed(chosen: tuple[Where, ...], wheres: Sequence[Where]) -> bool:
    """Whether there may be a device that fits these, and none of the others."""
    both = _meet(chosen)
    if both is None:
        return False
    return not any(implies(both, where) for where in wheres if where not in chosen)


def _meet(wheres: Sequence[Where]) -> Where | None:
    """What fits all of them; None = no device can."""
    grids: tuple[str, ...] = ()
    attributes: dict[str, tuple[str, ...]] = {}
    for where in wheres:
        if where.grids:
            grids = _common(grids, where.grids) if grids else where.grids
            if not grids:
                return None
        for name, values in where.attributes:
            kept = attributes.get(name, values)
            attributes[name] = tuple(value for value in kept if value in values)
            if not attributes[name]:
                return None
    return Where(grids, tuple(sorted(attributes.items())))


def _common(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Prefixes of what begins with one of each."""
    pairs = ((a, b) for a in some for b in others if a.startswith(b) or b.startswith(a))
    return tuple(sorted({max(pair, key=len) for pair in pairs}))


def implies(narrow: Where, wide: Where) -> bool:
    """Whether all that fits the first fits the second.

    >>> implies(Where(("340199001",)), Where(("340199",)))
    True
    """
    if wide.grids and not (
        narrow.grids and all(code.startswith(wide.grids) for code in narrow.grids)
    ):
        return False
    has = dict(narrow.attributes)
    return all(name in has and set(has[name]) <= set(values) for name, values in wide.attributes)
