"""Why a rule didn't raise, as far as readings and limits alone tell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from rules.expr.attributes import amount
from rules.expr.evaluate import Bools, Floats, judge
from rules.expr.plan import Attribute, AttributeNumber, show
from rules.ruleset import Rule
from rules.testing.case import Case, Device
from rules.testing.times import offset_text


def why_quiet(case: Case, rule: Rule, device: Device) -> str:
    """One sentence; "" when there is nothing to say."""
    for attribute, values in rule.selectors:
        if not device.has(attribute, values):
            has = device.attributes.get(attribute) or "none"
            wanted = " or ".join(values)
            return f"the rule looks at devices with {attribute} {wanted}; {device.id} has {has}"
    if rule.card.family != device.family:
        return f"the rule looks at {rule.card.family} devices; {device.id} is {device.family}"
    known = all(quantity < len(QUANTITIES) for quantity in rule.quantities)
    if not rule.quantities or not known or rule.mode not in ("instant", "timed"):
        return ""
    columns = _Columns(case, rule, device)
    if not len(columns.ts_ms):
        names = " or ".join(QUANTITIES[quantity].name for quantity in rule.quantities)
        return f"{device.id} has no reading of {names} in this test"
    true, false = judge(rule.when, columns)
    if not true.any():
        return f"{show(rule.when)} never held{columns.nearest()}"
    from_ms, to_ms = _longest(columns.ts_ms, true, false, case.until_ms)
    span = f"{offset_text(to_ms - from_ms)}, from {offset_text(from_ms)} to {offset_text(to_ms)}"
    asked = f"; for: {offset_text(rule.for_ms)}" if rule.for_ms else ""
    return f"{show(rule.when)} held at most {span}{asked}"


def _longest(ts_ms: NDArray[np.int64], true: Bools, false: Bools, end_ms: int) -> tuple[int, int]:
    """The longest time without a reading that says no, from one that says yes."""
    best, since = (0, 0), None
    for at, yes, no in zip(ts_ms.tolist(), true.tolist(), false.tolist(), strict=True):
        if yes and since is None:
            since = at
        if no and since is not None:
            best = max(best, (since, at), key=lambda span: span[1] - span[0])
            since = None
    if since is not None:
        best = max(best, (since, end_ms), key=lambda span: span[1] - span[0])
    return best


class _Columns:
    """The readings of one device as an expression sees them: each with the others' newest."""

    def __init__(self, case: Case, rule: Rule, device: Device) -> None:
        self._device = device
        found: dict[int, dict[int, float]] = {}
        for series in case.series:
            quantity = QUANTITY_INDEX[series.quantity]
            if series.device != device.id or quantity not in rule.quantities:
                continue
            for tick, sample in enumerate(series.samples):
                if sample is not None:
                    at_ms = series.from_ms + tick * series.interval_ms
                    found.setdefault(at_ms, {})[quantity] = sample.value
        self.ts_ms = np.array(sorted(found), np.int64)
        self._values = {q: np.full(len(found), np.nan) for q in rule.quantities}
        newest: dict[int, float] = {}
        for row, at_ms in enumerate(self.ts_ms.tolist()):
            newest |= found[at_ms]
            for quantity, value in newest.items():
                self._values[quantity][row] = value

    def nearest(self) -> str:
        """What the values were instead."""
        told = [
            f"{QUANTITIES[quantity].name} was {np.nanmin(value):g} to {np.nanmax(value):g}"
            for quantity, value in self._values.items()
            if not np.isnan(value).all()
        ]
        return ": " + ", ".join(told) if told else ""

    def reading(self, quantity: int) -> Floats:
        return self._values[quantity]

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        if isinstance(plan, AttributeNumber):
            said = self._device.attributes.get(plan.attribute, "")
            return np.full(len(self.ts_ms), amount(said, plan))
        holds = self._device.has(plan.attribute, plan.choices)
        return np.full(len(self.ts_ms), 1 if holds else 2, np.uint8)

    def silent(self, for_ms: int) -> Bools:
        del for_ms
        return np.zeros(len(self.ts_ms), np.bool_)
