"""What the scores of quiet homes mean as alerts: the shipped rules are held against this."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np

from detectors.inactivity.alarms import Cause, at_home, held
from detectors.inactivity.operator import Scores

Risen = tuple[str, str, int, int]
"""(home, rule, severity, unix ms)."""


def rule_of(cause: Cause) -> tuple[str, int]:
    """The rule and the severity that stand for it."""
    return {
        Cause.CONTACT_UNKNOWN: ("elderly.away_long", 4),
        Cause.CONTACT_AWAY: ("elderly.away_long", 4),
        Cause.CEILING_WATER: ("elderly.quiet_dry", 3),
        Cause.CEILING_CALL: ("elderly.quiet_day", 3),
        Cause.CALL: ("elderly.quiet", 3),
        Cause.CEILING: ("elderly.quiet_day", 2),
        Cause.VISIT: ("elderly.quiet", 2),
    }[cause]


def risen(events: Iterable[dict[str, Any]]) -> set[Risen]:
    """Of CloudEvents as JSON: what was raised, or became more severe."""
    found: set[Risen] = set()
    for event in events:
        data = event["data"]
        rule, severity = data["rule"]["id"], data["severity"]
        rises = event["type"].endswith(".raised") or severity < data.get("severity_before", 0)
        if rises and rule.startswith(("elderly.quiet", "elderly.away_long")):
            at = round(datetime.fromisoformat(event["time"]).timestamp() * 1000)
            found.add((data["device"], rule, severity, at))
    return found


def expected(homes: tuple[str, ...], scores: list[Scores]) -> set[tuple[str, str, int, int]]:
    """(home, rule, severity, ms) at which each condition begins to hold. It goes on through times
    in which nothing is known: lost data ends no alert."""
    found: set[tuple[str, str, int, int]] = set()
    on: dict[tuple[str, int, int], bool] = defaultdict(bool)
    for one in scores:
        now = held(one)
        by_rule: dict[tuple[str, int], np.ndarray[tuple[int], np.dtype[np.bool_]]] = {}
        for cause in list(Cause)[1:]:
            name = rule_of(cause)
            by_rule[name] = by_rule.get(name, np.zeros(len(homes), bool)) | now[cause]
        for (rule, severity), holds in by_rule.items():
            for home in range(len(homes)):
                key = rule, severity, home
                if holds[home] and not on[key]:
                    # One change of the alert: it stands at the most severe at once.
                    found -= {(homes[home], rule, severity + 1, one.at_ms)}
                    found.add((homes[home], rule, severity, one.at_ms))
                known = one.state[home] != 0
                ends = at_home(one.state)[home] if rule == "elderly.away_long" else known
                on[key] = bool(holds[home]) or (on[key] and not ends)
    return found
