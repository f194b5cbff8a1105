"""Notices: what the owner of a rule must know that is no alert. They travel as alert events do.

`type` = `io.gridwarden.{family}.{condition}.over_budget`, `subject` = one for each rule, grid and
day, `data` = `BudgetNotice`. Nothing of them is open, acknowledged or ended.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

import msgspec

from contracts.alert_data import Area, RuleRef
from contracts.alerts import AlertEvent
from contracts.rulebook import Text

OVER_BUDGET = "over_budget"


class BudgetNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A rule has rung oftener in a grid on one day than its budget allows.

    severity, level: of the rule, so that a receiver which no longer gets the alerts gets this.
    day: local, `2026-03-01`, in `zone`. alert: the first beyond the budget.
    """

    change: Literal["over_budget"]
    rule: RuleRef
    title: Text
    reason: Text
    owner: str
    severity: int
    level: str
    family: str
    condition: str
    grid: Area
    day: str
    zone: str
    budget: int
    alert: str
    notify: bool


def is_notice(event: AlertEvent) -> bool:
    """Whether it is a notice; every other event is of an alert, and its data `AlertData`."""
    return event.type.endswith(f".{OVER_BUDGET}")


def notice_id(rule: str, grid: str, day: str) -> str:
    """The notice's subject, the same for ever: 26 characters of base32, like an alert's id."""
    digest = hashlib.sha256(f"budget\0{rule}\0{grid}\0{day}".encode()).digest()
    return base64.b32encode(digest[:16]).decode().rstrip("=").lower()
