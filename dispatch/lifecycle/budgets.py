"""False-alarm budgets: how often a rule may ring in one grid on one day. Pure.

An alert takes one from the budget when it is first delivered, of the day on which it was raised,
in event time. What doesn't ring takes none: held back or late. Once somebody says that an alert
was real or a drill, it gives its one back: the budget is about false alarms, and what nobody has
judged counts as one. Judging it false again takes it anew.

Beyond the budget an alert is level Ⅳ for its whole life, and one notice says so.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from contracts.alert_data import Area, Disposition, RuleRef
from contracts.alerts import SEVERITY, AlertEvent
from contracts.notices import OVER_BUDGET, BudgetNotice, notice_id
from contracts.rulebook import Text
from dispatch.alert import Alert, BudgetUse
from dispatch.envelope import UNKNOWN_GRID, area_of, clipped, envelope, rings
from dispatch.wording import clip, day_of

DAYS_KEPT = 8
"""Days of which is known what was used. An alert of an older day (it was held back for a week)
takes nothing and is told as its rule says."""

_Key = tuple[str, str, int]


class Budgets:
    """What each rule has used up in each grid on each of the last days."""

    def __init__(self) -> None:
        self._used: dict[_Key, int] = {}
        self._told: set[_Key] = set()

    def take(self, alert: Alert) -> bool:
        """At its first delivery: one from the budget, or over it. True: a notice is due."""
        card = alert.card
        if not card.budget or card.safety or not rings(alert):
            return False
        if alert.counted or alert.over_budget:
            return False  # The same episode, opened again.
        key = _key(alert)
        if not self._is_kept(key):
            return False
        if self._used[key] < card.budget:
            alert.counted = True
            self._used[key] += 1
            return False
        alert.over_budget = True
        first = key not in self._told
        self._told.add(key)
        return first

    def judged(self, alert: Alert, disposition: Disposition | None) -> None:
        """Before an alert's disposition becomes another."""
        key = _key(alert)
        if alert.counted and key in self._used:
            self._used[key] += _counts(disposition) - _counts(alert.disposition)

    def state(self) -> tuple[BudgetUse, ...]:
        return tuple(BudgetUse(*key, used, key in self._told) for key, used in self._used.items())

    def restore(self, state: tuple[BudgetUse, ...]) -> None:
        self._used = {(use.rule, use.grid, use.day): use.used for use in state}
        self._told = {(use.rule, use.grid, use.day) for use in state if use.told}

    def _is_kept(self, key: _Key) -> bool:
        """Whether its day is still counted; with the first of a new day the oldest one goes."""
        if key in self._used:
            return True
        newest = max((day for _, _, day in self._used), default=key[2])
        if key[2] <= newest - DAYS_KEPT:
            return False
        if key[2] > newest:
            kept = {k: n for k, n in self._used.items() if k[2] > key[2] - DAYS_KEPT}
            self._used, self._told = kept, self._told & kept.keys()
        self._used[key] = 0
        return True


def _key(alert: Alert) -> _Key:
    return (alert.card.id, area_of(alert), day_of(alert.raised_ms))


def _counts(disposition: Disposition | None) -> int:
    return 0 if disposition in ("real", "drill") else 1


def notice(alert: Alert, at_ms: int) -> AlertEvent:
    """That the budget is used up, from the first alert beyond it."""
    card, place = alert.card, alert.place
    grid = area_of(alert)
    day = datetime.fromtimestamp(day_of(alert.raised_ms) * 86_400, UTC).strftime("%Y-%m-%d")
    name = notice_id(card.id, grid, day)
    data = BudgetNotice(
        change="over_budget",
        rule=RuleRef(id=card.id, hash=card.hash, condition=clip(card.condition_text, 600)),
        title=clipped(card.title, 300),
        reason=_reason(alert, day),
        owner=clip(card.owner, 200),
        severity=card.severity,
        level=SEVERITY[card.severity][2],
        family=card.family,
        condition=card.condition,
        grid=Area(
            code="" if grid == UNKNOWN_GRID else grid,
            name=clip(place.grid_name or place.community_name, 240),
        ),
        day=day,
        zone="Asia/Shanghai",
        budget=card.budget,
        alert=alert.id,
        notify=True,
    )
    return envelope(
        subject=name,
        revision=1,
        source=f"/grid/{grid}/rules/{card.id}",
        kind=f"io.gridwarden.{card.family}.{card.condition}.{OVER_BUDGET}",
        grid=grid,
        at_ms=at_ms,
        sequence_ms=at_ms,
        severity=card.severity,
        causation=alert.last_event,
        data=msgspec.to_builtins(data),
    )


def _reason(alert: Alert, day: str) -> Text:
    card, place = alert.card, alert.place
    code = area_of(alert)
    grid = place.grid_name or place.community_name or ("" if code == UNKNOWN_GRID else code)
    zh = (
        f"{card.title.zh or card.id}：{day} 在{grid or '未知网格'}响了超过 {card.budget} 次。"
        "当日其余的只按Ⅳ级发送。"
    )
    en = (
        f"{card.title.en or card.id}: rang more than {card.budget} times on {day} in "
        f"{grid or 'an unknown grid'}. Further ones of that day are sent as level Ⅳ only."
    )
    if card.owner:
        zh += f"请 {card.owner} 检查规则的限值。"
        en += f" {card.owner} should look at the rule's limits."
    return clipped(Text(zh=zh, en=en), 1200)
