"""What an expectation may ask of an alert event beyond rule, device, change and time.

Every plain field of `AlertData` can be asked for by its name, so that what events learn to say
can be tested at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec

from contracts.alert_data import AlertChange, AlertData, DeliveryState
from rules.testing.notation import parse_value
from rules.testing.times import offset_text, parse_offset, parse_start

CHANGES: tuple[str, ...] = tuple(
    change for change in get_args(AlertChange) if change not in ("reminder",)
)
"""Changes that the engine tells; reminders are made by dispatch."""

TOLERANCE = 1e-9
"""Relative: values are written in decimals, perhaps in another unit."""

_OF_GROUP = ("breached", "size", "lost")
_OWN = ("alert", "change", "rule", "device", "onset")


@dataclass(frozen=True, slots=True)
class Check:
    """kind: "number", "flag", "words" (a list: all named must be in it), "word" or "time".

    choices: the words that are possible; empty = any.
    """

    kind: str
    choices: tuple[str, ...] = ()

    def mend(self, text: str) -> str:
        """What to write instead of `text`; "" when it fits."""
        if self.kind == "number" and parse_value(text.split(" ")[0], None) is None:
            return "write a number"
        if self.kind == "flag" and text not in ("true", "false"):
            return "write true or false"
        if self.kind == "time" and parse_offset(text) is None:
            return "write the time from the start of the test: 0s, 90s, 1m30s"
        if self.choices and any(word not in self.choices for word in text.split()):
            return f"write one of {', '.join(self.choices)}"
        return ""


def _check(kind: Any) -> Check | None:
    """The check for the type of a field; None = it is no plain one."""
    if get_origin(kind) is UnionType or str(get_origin(kind)) == "typing.Union":
        kinds = [part for part in get_args(kind) if part is not NoneType]
        return _check(kinds[0]) if len(kinds) == 1 else None
    if get_origin(kind) is Literal:
        return Check("word", tuple(str(choice) for choice in get_args(kind)))
    if get_origin(kind) in (list, tuple):
        inner = _check(get_args(kind)[0])
        return None if inner is None else Check("words", inner.choices)
    return {
        bool: Check("flag"),
        int: Check("number"),
        float: Check("number"),
        str: Check("word"),
    }.get(kind)


def _checks() -> dict[str, Check]:
    found = {
        "value": Check("number"),
        "limit": Check("number"),
        "onset": Check("time"),
        "late": Check("flag"),
        "clock": Check("word", ("good", "repaired", "unknown")),
        "says": Check("text"),
        "delivery": Check("word", get_args(DeliveryState)),
        **dict.fromkeys(_OF_GROUP, Check("number")),
    }
    for name in msgspec.structs.fields(AlertData):
        check = _check(name.type)
        if check is not None and name.encode_name not in _OWN:
            found[name.encode_name] = check
    return found


CHECKS: Mapping[str, Check] = _checks()
"""Field -> how it is checked."""


def said(data: Mapping[str, Any], name: str, start_ms: int) -> Any:
    """What the event says in the field of that name."""
    if name == "value":
        return _sample(data).get("value")
    if name in _OF_GROUP:
        return (data.get("group") or {}).get(name)
    if name == "limit":
        return data.get("threshold")
    if name == "onset":
        at = parse_start(data["onset"])
        return None if at is None else offset_text(at - start_ms)
    if name in ("late", "clock"):
        return data["timing"][name]
    if name == "says":
        return f"{data['reason']['zh']} / {data['reason']['en']}"
    if name == "delivery":
        return data["delivery"]["state"]
    return data.get(name)


def fits(data: Mapping[str, Any], name: str, text: str, start_ms: int) -> bool:
    """Whether the event says what the test wrote."""
    came, check = said(data, name, start_ms), CHECKS[name]
    if check.kind == "number":
        quantity = _sample(data).get("quantity")
        wanted = parse_value(text, quantity)
        return (
            wanted is not None
            and came is not None
            and math.isclose(came, wanted, rel_tol=TOLERANCE, abs_tol=1e-12)
        )
    if check.kind == "flag":
        return bool(came is (text == "true"))
    if check.kind == "time":
        return bool(parse_offset(str(came)) == parse_offset(text))
    if check.kind == "words":
        return set(text.split()) <= {str(word) for word in came or ()}
    return text in str(came) if check.kind == "text" else str(came) == text


def _sample(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reading that decided this change, or else the last one that is told."""
    samples = data.get("samples") or [{}]
    found: Mapping[str, Any] = next(
        (one for one in samples if one.get("decided") == data["change"]), samples[-1]
    )
    return found
