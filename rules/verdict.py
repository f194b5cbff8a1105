"""What one reading says to one rule, as bits of a byte.

A rule asks two questions of a reading, `when` and `clear`, and each has three answers. Breached
wins: a reading that fits both questions doesn't clear.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rules.expr.evaluate import Bools, Columns, judge
from rules.ruleset import Rule

NOT = 1  # `when` is false
CLEARS = 2  # `clear` is true
BREACH = 4  # `when` is true
HOLDS = 8  # `clear` is false
LOST = 16  # of a group: what it hangs on was lost


def verdicts(rule: Rule, columns: Columns) -> NDArray[np.uint8]:
    """uint8 per row. Without a `clear`, what isn't breached clears."""
    true, false = judge(rule.when, columns)
    clears, holds = (false, true) if rule.clear is None else judge(rule.clear, columns)
    return encode(true, false, clears & ~true, holds | true)


def encode(breach: Bools, not_breach: Bools, clears: Bools, holds: Bools) -> NDArray[np.uint8]:
    code = not_breach.astype(np.uint8)
    code |= clears.astype(np.uint8) << 1
    code |= breach.astype(np.uint8) << 2
    code |= holds.astype(np.uint8) << 3
    return code
