"""A rule in plain sentences, in Chinese and English, with a small time line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from rules.effective import Effective
from rules.ruleset import Rule
from rules.time_line import SEVERITIES, time_line

Language = Literal["zh", "en"]

SENTENCES: dict[str, tuple[str, str]] = {
    "id": ("规则 {value}。", "Rule {value}."),
    "title": ("告警的标题：{value}。", "People see it as: {value}."),
    "on": ("适用的设备：{value}。", "It watches devices that fit: {value}."),
    "group": (
        "以 {value} 为单位只报一条警，而不是每台设备一条。",
        "It gives one alert for each {value}, not one for each device.",
    ),
    "when": ("条件：{value}。", "It is breached while {value}."),
    "for": (
        "条件连续成立 {value} 才报警；数据中断不打断计时。",
        "It rings once that has held for {value}; a gap in the data doesn't break it.",
    ),
    "clear": (
        "解除条件：{value}；两者都不满足时保持原状。",
        "The alert ends when {value}; between the two nothing changes.",
    ),
    "clear_for": ("解除条件须连续成立 {value}。", "That must hold for {value}."),
    "severity": ("级别：{value}。", "It rings as level {value}."),
    "levels": (
        "一条告警的级别随情况升降：{value}。",
        "It is one alert, whose level rises and falls: {value}.",
    ),
    "sequence": (
        "读数依次满足以下各步时成立：{value}。",
        "It is breached by the reading that completes these steps: {value}.",
    ),
    "debounce": (
        "去抖：{value}（n of m = 最近 m 个读数中有 n 个成立；last = 持续这么久才算）。",
        "Debounced: {value} (n of m: of the last m readings; last: steady for so long).",
    ),
    "during": ("只在此时段内成立：{value}。", "It is breached only during {value}."),
    "missing": (
        "数据缺失时：{value}（hold = 保持原状；unknown = 标为未知；raise = 视为越限）。",
        "When data is missing: {value} (hold: as it was; unknown: says so; raise: a breach).",
    ),
    "keep": (
        "告警的结束推迟 {value}；瞬时信号（报警位、代码、评分、序列）在最后一次成立后自行结束。",
        "Its end is held off for {value}; momentary signals end by themselves so long after "
        "the last breach.",
    ),
    "flapping": (
        "频繁抖动：{value}（在 within 内报警 raises 次后，须连续成立 for 才再报警）。",
        "Flapping: {value} (after that many raises within the time it must hold for longer).",
    ),
    "late": (
        "迟到的读数：{value}（annotate = 另记为历史；fire = 照常报警；drop = 不看，只计数）。",
        "Late readings: {value} (annotate: kept apart as history; fire: ring like others; "
        "drop: counted, not looked at).",
    ),
    "class": (
        "类别：{value}；safety 规则总是报警，任何设置都不能使它安静。",
        "Class {value}; a rule of class safety always rings, nothing makes it quieter.",
    ),
    "latched": (
        "自锁 {value}：为 true 时只能由操作员复位结束。",
        "Latched {value}: when true, only an operator's reset ends the alert.",
    ),
    "standard": ("限值依据：{value}。", "The limit comes from: {value}."),
    "runbook": ("处置：{value}。", "What to do: {value}."),
    "reason": ("告警说明：{value}。", "The alert says: {value}."),
    "condition": ("告警类型：{value}。", "The alert's type is {value}."),
    "owner": ("负责人：{value}。", "It is kept by {value}."),
    "inhibit": (
        "同一地点有下列告警时，本规则的告警只记录、不通知：{value}。",
        "Its alerts are recorded, not told, while one of these is open at the place: {value}.",
    ),
    "shadow": (
        "试行 {value}：为 true 时只记录，不通知任何人。",
        "On trial {value}: when true, alerts are recorded and nobody is told.",
    ),
    "budget": (
        "误报预算 {value}：超出的告警按 Ⅳ 级通知。",
        "Budget {value}: alerts beyond it are told as level Ⅳ.",
    ),
    "enabled": ("启用：{value}。", "Switched on: {value}."),
}
"""Every key of the language; {value} is what the rule file says."""

PARTS: dict[str, tuple[str, str]] = {
    "name": ("级别 {value}", "level {value}"),
    **{key: SENTENCES[key] for key in ("severity", "when", "for", "clear", "clear_for")},
}
"""Keys of a level."""

_WORDS = (
    (r"<=", "不高于", "is at most"),
    (r">=", "不低于", "is at least"),
    (r"!=", "不等于", "is anything but"),
    (r"==", "等于", "is"),
    (r"<", "低于", "is below"),
    (r">", "高于", "is above"),
    (r"\band\b", "且", "and"),
    (r"\bor\b", "或", "or"),
    (r"\bnot\b", "非", "not"),
)


def explained(rule: Effective, rows: Sequence[Rule], language: Language) -> Iterator[str]:
    """One sentence for each key that the rule has, in the order of `SENTENCES`; a time line.

    rows: its machine rows, none when it is switched off.
    """
    nth = ("zh", "en").index(language)
    for key, templates in SENTENCES.items():
        value = _value(rule, key, language)
        if value:
            yield templates[nth].format(value=in_words(key, value, language))
        if key == "levels":
            yield from _of_levels(rule, language)
    yield ""
    yield from time_line(rows, nth)


def _value(rule: Effective, key: str, language: Language) -> str:
    if key == "levels":
        return ", ".join(rule.levels)
    found = rule.value(key)
    if found is None:
        return ""
    return found.texts.get(language, found.text)


def _of_levels(rule: Effective, language: Language) -> Iterator[str]:
    nth = ("zh", "en").index(language)
    for name in rule.levels:
        head = PARTS["name"][nth].format(value=name)
        for key, templates in PARTS.items():
            value = "" if key == "name" else rule.text(f"levels.{name}.{key}")
            if value:
                yield f"{head}: {templates[nth].format(value=in_words(key, value, language))}"


def in_words(key: str, text: str, language: Language) -> str:
    """Operators and levels of a value as words.

    >>> in_words("when", "co2 >= 2 and pump == 1", "en")
    'co2 is at least 2 and pump is 1'
    """
    nth = ("zh", "en").index(language)
    if key == "severity":
        return SEVERITIES[int(text)][nth]
    if key not in ("when", "clear"):
        return text
    for pattern, *words in _WORDS:
        text = re.sub(rf"\s*{pattern}\s*", f" {words[nth]} ", text)
    return text.strip()
