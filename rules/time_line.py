"""A rule along a small time line: from the moment at which its condition begins to hold.

Told of the machine rows, so of what the engine does: durations of levels, what `debounce` and
`keep` come to, and moments that no clock tells, such as the third reading that fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rules.durations import duration_text
from rules.expr.composed import Debounced
from rules.expr.composed import Sequence as Chain
from rules.expr.plan import readings_of
from rules.ruleset import Rule
from rules.schema import MISSING_PART

OVER_MS = 10 * 60_000
"""An example: so long after the alert the condition is over."""

SEVERITIES = {
    1: ("Ⅰ（红）", "Ⅰ (red)"),
    2: ("Ⅱ（橙）", "Ⅱ (orange)"),
    3: ("Ⅲ（黄）", "Ⅲ (yellow)"),
    4: ("Ⅳ（蓝）", "Ⅳ (blue)"),
}

_Both = tuple[str, str]
"""In Chinese and in English."""


def time_line(rows: Sequence[Rule], nth: int) -> Iterator[str]:
    """rows: of one rule or variant. nth: 0 Chinese, 1 English."""
    if not rows:
        yield ("  已停用：不会报警", "  switched off: it never rings")[nth]
    for row in rows:
        if row.part:
            yield f"  {_part(row)[nth]}"
        for at, what in _steps(row, least=row is rows[0]):
            yield f"  {at:>8}  {what[nth]}"


def _part(row: Rule) -> _Both:
    if row.part == MISSING_PART:
        return ("数据缺失：", "missing data:")
    return (f"级别 {row.part}：", f"level {row.part}:")


def _steps(row: Rule, *, least: bool) -> Iterator[tuple[str, _Both]]:
    begun, since = _begins(row)
    yield from begun
    yield _after(since, row.for_ms + row.silence_ms), _raised(row, least=least)
    over_ms = row.for_ms + row.silence_ms + OVER_MS
    yield _after(since, over_ms), _over(row)
    yield _after(since, over_ms + row.keep_ms + row.clear_for_ms), _ended(row, least=least)


def _begins(row: Rule) -> tuple[list[tuple[str, _Both]], str]:
    """The first steps, and the name of the moment that the others count from; "" = the first."""
    if row.mode == "silence":
        return [("0s", ("最后一次读数", "the last reading"))], ""
    for reading in readings_of(row.when):
        derived = reading.derived
        if isinstance(derived, Debounced):
            n, m = derived.least, derived.of
            first = ("首次有读数满足条件", "a reading fits for the first time")
            enough = (f"最近 {m} 个读数中有 {n} 个满足", f"{n} of the last {m} readings fit")
            return [("0s", first), ("t", enough)], "t"
        if isinstance(derived, Chain):
            done = ("一个读数完成最后一步", "a reading completes the last step")
            return [("0s", done)], ""
    return [("0s", ("条件开始成立", "the condition begins to hold"))], ""


def _after(since: str, ms: int) -> str:
    length = duration_text(ms)
    return f"{since}+{length}" if since and length else since or length or "0s"


def _raised(row: Rule, *, least: bool) -> _Both:
    zh, en = SEVERITIES[row.severity or row.card.severity]
    if not least:
        return f"报警，或升至 {zh}", f"raised at, or risen to, {en}"
    return f"报警 {zh}", f"raised, {en}"


def _over(row: Rule) -> _Both:
    if row.mode == "silence":
        return "下一次读数", "the next reading"
    if row.keep_ms:
        return "条件最后一次成立", "the condition holds for the last time"
    if row.clear is not None:
        return "解除条件开始成立", "the clearing condition begins to hold"
    for reading in readings_of(row.when):
        if isinstance(reading.derived, Debounced):
            n, m = reading.derived.least, reading.derived.of
            few = f"fewer than {n} of the last {m} readings fit"
            return f"最近 {m} 个读数中满足的不足 {n} 个", few
    return "条件不再成立", "the condition is over"


def _ended(row: Rule, *, least: bool) -> _Both:
    if row.card.latched:
        return "等待操作员复位", "waits for an operator's reset"
    if row.part and least:
        return "告警解除（更高级别仍成立时除外）", "cleared, unless a higher level holds"
    if row.part:
        lower = "falls to a lower level that still holds, else cleared"
        return "降至仍成立的较低级别；没有则解除", lower
    return "告警解除", "cleared"
