"""Whether one condition of a group misses what another one meets: tried on groups of many sizes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, permutations, product

import numpy as np

from rules.expr.evaluate import Bools
from rules.expr.plan import Constant, OneOf, Truth, predicates_of, walk
from rules.group.judge import MOST_TRIED, Tallies, judged_settled, settled

Misses = Callable[[Truth, Truth], bool]
"""Whether some values fit the first condition and not the second, of one device."""

_SMALL = (1, 2, 3, 5)
"""Groups in which a share of devices is a different number than elsewhere."""


def misses_groups(wide: Truth, narrow: Truth, misses: Misses) -> bool:
    """Whether some group in which everything is known fits the first and not the second."""
    asked = tuple(dict.fromkeys((*predicates_of(wide), *predicates_of(narrow))))
    within = [
        (a, b) for a, b in permutations(range(len(asked)), 2) if not misses(asked[a], asked[b])
    ]
    limits = _limits(wide) | _limits(narrow)
    whole = {int(limit) for limit in limits if 1 <= limit < 10_000}
    near = {n + step for n in whole for step in (0, 1)}
    for size in sorted({*_SMALL, *near, max(near, default=1) * 2 + 20}):
        if bool(_missed(wide, narrow, asked, within, limits, size).any()):
            return True
    return False


def _limits(plan: Truth) -> set[float]:
    found = set()
    for part in walk(plan):
        if isinstance(part, Constant):
            found.add(part.value)
        elif isinstance(part, OneOf):
            found.update(part.choices)
    return found


def _missed(
    wide: Truth,
    narrow: Truth,
    asked: tuple[Truth, ...],
    within: list[tuple[int, int]],
    limits: set[float],
    size: int,
) -> Bools:
    """within: (a, b): who fits question a fits question b, so b counts no fewer."""
    middles = {round(limit * size) for limit in limits if 0 <= limit <= 1}
    middles |= {int(limit) for limit in limits if 0 <= limit <= size}
    near = {n + step for n in middles for step in (-1, 0, 1)} | {0, size}
    counts = sorted(n for n in near if 0 <= n <= size)
    grid = np.array(list(islice(product(counts, repeat=len(asked)), MOST_TRIED)), np.int32)
    for a, b in within:
        grid = grid[grid[:, a] <= grid[:, b]]
    tallies = Tallies({plan: settled(grid[:, i], size) for i, plan in enumerate(asked)}, False)
    return judged_settled(wide, tallies) & ~judged_settled(narrow, tallies)
