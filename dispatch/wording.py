"""Sentences for people, in Chinese and English, with the values filled in."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contracts.alerts import SEVERITY
from contracts.groups import PREFIX
from contracts.quantities import QUANTITIES, QUANTITY_INDEX, Kind
from contracts.registry import Place
from contracts.rulebook import Text
from dispatch.alert import Alert, Evidence

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_.]*)\}")
_GAP = re.compile(r" ([,.，。；])")
_CONTROL = dict.fromkeys((*range(0x20), 0x7F), " ")

_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_UNITS = (
    (86_400_000, "天", "d"),
    (3_600_000, "小时", "h"),
    (60_000, "分钟", "min"),
    (1_000, "秒", "s"),
    (1, "毫秒", "ms"),
)

_ZONE_MS = 8 * 3_600_000
"""Asia/Shanghai: UTC+8 without summer time since September 1991 (tz database)."""


def day_of(ms: int) -> int:
    """The local day, counted from 1970-01-01."""
    return (ms + _ZONE_MS) // 86_400_000


def clip(text: str, limit: int) -> str:
    """At most `limit` bytes as JSON, cut at a character with "…"; control characters go."""
    text = text.translate(_CONTROL).encode("utf-8", "replace").decode()
    size = 0
    for at, char in enumerate(text):
        size += 2 if char in '"\\' else len(char.encode())
        if size > limit:
            while at and size > limit - 3:
                at -= 1
                size -= 2 if text[at] in '"\\' else len(text[at].encode())
            return text[:at] + "…"
    return text


def number(value: float | None, language: str = "en") -> str:
    """Six significant digits, the same on every machine."""
    if value is None:
        return "无数值" if language == "zh" else "no value"
    return format(value, ".6g")


def _told(name: str, value: float | None, language: str) -> str:
    """A quantity that a text names: minutes as people say them; of what a detector reckons, three
    digits mean something."""
    quantity = QUANTITIES[QUANTITY_INDEX[name]]
    if value is None or not quantity.detector or not math.isfinite(value):
        return number(value, language)
    if quantity.unit == "min":
        return span(round(value) * 60_000, language)
    return format(value, ".3g" if abs(value) < 1000 else ".0f")


def spot(place: Place, language: str) -> str:
    """The place in one phrase, the largest part first in Chinese and last in English."""
    named = [part for part in (place.community_name, place.grid_name or place.grid) if part]
    exact = [
        (place.building, "{}", "building {}"),
        (place.unit, "{}单元", "unit {}"),
        (place.floor, "{}层", "floor {}"),
    ]
    if language == "zh":
        parts = named + [_worded(zh, text) for text, zh, _ in exact if text]
        return " ".join(parts) or "位置未知"
    parts = [_worded(en, text) for text, _, en in reversed(exact) if text]
    return ", ".join(parts + named[::-1]) or "place unknown"


def _worded(form: str, text: str) -> str:
    """ "12" needs its word, "3号楼" has its own."""
    return form.format(text) if text.isascii() else text


@dataclass(frozen=True, slots=True)
class Texts:
    """What people read of an alert, with all values filled in."""

    title: Text
    reason: Text
    runbook: Text


def texts(alert: Alert) -> Texts:
    """The rule's texts, or for the reason a plain sentence made from the reading.

    One that silence has raised has the plain sentence: the rule's own is of readings.
    """
    card = alert.card
    # A reading that came since speaks for itself.
    silence_ms = alert.level.silence_ms if alert.level and not alert.why.quantity else 0
    plain = _OF_GROUP if alert.device.startswith(PREFIX) else _default(alert.why)
    if silence_ms:
        plain, sentence = _silent(silence_ms), Text()
    else:
        sentence = card.reason
    values = {"zh": _values(alert, "zh"), "en": _values(alert, "en")}
    title = _both(card.title, values)
    values["zh"]["title"] = title.zh or card.id
    values["en"]["title"] = title.en or card.id
    reason = Text(zh=sentence.zh or plain.zh, en=sentence.en or plain.en)
    return Texts(title, _both(reason, values), _both(card.runbook, values))


def _both(text: Text, values: dict[str, dict[str, str]]) -> Text:
    return Text(zh=_filled(text.zh, values["zh"]), en=_filled(text.en, values["en"]))


def _values(alert: Alert, language: str) -> dict[str, str]:
    """All of `contracts.rulebook.PLACEHOLDERS`, and the quantities that the rule's texts name."""
    card, why, group = alert.card, alert.why, alert.group
    beside = {name: _told(name, why.beside.get(name), language) for name in card.tells}
    return beside | {
        "value": number(why.value, language),
        "limit": number(why.threshold, language),
        "unit": "" if (why.unit or card.unit) == "1" else why.unit or card.unit,
        "device": alert.device,
        "place": spot(alert.place, language),
        "quantity": why.function or why.quantity,
        "level": SEVERITY[alert.severity][2],
        "since": local_time(alert.onset_ms),
        "for": span((alert.level or card).for_ms, language),
        "count": "" if group is None else str(group.breached),
        "size": "" if group is None else str(group.size),
    }


def local_time(ms: int) -> str:
    """`2026-03-01 08:00:05` in Shanghai; a time that no calendar holds becomes the nearest."""
    s = min(max(ms + _ZONE_MS, _FIRST_MS), _LAST_MS) // 1000
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
    return f"{at.year:04d}-{at:%m-%d %H:%M:%S}"


def span(ms: int, language: str) -> str:
    """A duration in words: `1 min 30 s`, `1 分钟 30 秒`."""
    parts = []
    for size, zh, en in _UNITS:
        number_of, ms = divmod(ms, size)
        if number_of:
            parts.append(f"{number_of} {zh if language == 'zh' else en}")
    return " ".join(parts) or ("0 秒" if language == "zh" else "0 s")


def _filled(sentence: str, values: dict[str, str]) -> str:
    """In one pass: braces inside a value stay as they are."""
    text = _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), sentence)
    return _GAP.sub(r"\1", " ".join(text.split()))


_OF_GROUP = Text(
    zh="{title}：{place}，数值 {value}，限值 {limit}。",
    en="{title}: {place}, {value}, limit {limit}.",
)


def _silent(for_ms: int) -> Text:
    minutes = f"{for_ms / 60_000:.6g}"
    return Text(
        zh=f"{{title}}：设备 {{device}} 已 {minutes} 分钟没有数据。",
        en=f"{{title}}: no data from device {{device}} for {minutes} min.",
    )


def _default(why: Evidence) -> Text:
    kind = QUANTITIES[QUANTITY_INDEX[why.quantity]].kind if why.quantity else None
    if kind is None and not why.function:
        return Text(zh="{title}：设备 {device}。", en="{title}: device {device}.")
    if why.function and why.value is None:
        return Text(
            zh="{title}：设备 {device}：{quantity}。", en="{title}: device {device}: {quantity}."
        )
    if kind is Kind.SIGNAL and not why.function:
        return Text(
            zh="{title}：设备 {device} 报告 {quantity}。",
            en="{title}: device {device} reports {quantity}.",
        )
    if why.threshold is None:
        return Text(
            zh="{title}：设备 {device} 的 {quantity} 为 {value} {unit}。",
            en="{title}: {quantity} of device {device} is {value} {unit}.",
        )
    return Text(
        zh="{title}：设备 {device} 的 {quantity} 为 {value} {unit}，限值 {limit} {unit}。",
        en="{title}: {quantity} of device {device} is {value} {unit}, limit {limit} {unit}.",
    )
