"""What dispatch needs to know of a rule: who is told what, how loudly, and why."""

from __future__ import annotations

import msgspec


class Text(msgspec.Struct, frozen=True):
    """A text in both languages; `{value} {limit} {unit} {device} {place}` are filled in."""

    zh: str = ""
    en: str = ""


class RuleCard(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as dispatch sees it.

    id: `family.condition`-like name, unique in its set. hash: of the rule's meaning, on every
    alert. severity: 1 (Ⅰ, red) to 4 (Ⅳ, blue). family, condition: the alert's type. unit: of the
    rule's quantity. for_ms: the on-delay. slack_ms: how long timed rules wait for late readings.
    """

    id: str
    hash: str
    family: str
    condition: str
    severity: int
    title: Text
    reason: Text = Text()
    runbook: Text = Text()
    standard: str = ""
    owner: str = ""
    safety: bool = False
    latched: bool = False
    timed: bool = False
    for_ms: int = 0
    unit: str = "1"
    condition_text: str = ""
