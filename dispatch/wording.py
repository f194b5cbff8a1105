"""Sentences for people, in Chinese and English, with the values filled in."""

from __future__ import annotations

import re

import msgspec

from contracts.groups import PREFIX
from contracts.quantities import QUANTITIES, QUANTITY_INDEX, Kind
from contracts.registry import Place
from contracts.rulebook import RuleCard, Text
from dispatch.alert import Evidence

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_GAP = re.compile(r" ([,.，。；])")
_CONTROL = dict.fromkeys((*range(0x20), 0x7F), " ")

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


def reason(card: RuleCard, device: str, place: Place, why: Evidence, silence_ms: int = 0) -> Text:
    """Why the alert is raised: the rule's own sentence, or a plain one made from the reading.

    silence_ms: raised because no reading came for so long; the rule's sentence is of readings.
    """
    default = _OF_GROUP if device.startswith(PREFIX) else _default(why)
    if silence_ms:
        card, default = msgspec.structs.replace(card, reason=Text()), _silent(silence_ms)
    return Text(
        zh=_filled(card.reason.zh or default.zh, _values("zh", card, device, place, why)),
        en=_filled(card.reason.en or default.en, _values("en", card, device, place, why)),
    )


def _values(
    language: str, card: RuleCard, device: str, place: Place, why: Evidence
) -> dict[str, str]:
    return {
        "title": (card.title.zh if language == "zh" else card.title.en) or card.id,
        "value": number(why.value, language),
        "limit": number(why.threshold, language),
        "unit": "" if card.unit == "1" else card.unit,
        "device": device,
        "place": spot(place, language),
        "quantity": why.quantity,
    }


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
    if kind is None:
        return Text(zh="{title}：设备 {device}。", en="{title}: device {device}.")
    if kind is Kind.SIGNAL:
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
