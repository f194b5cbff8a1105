"""JSON Schema of rule files, for editors: completion and red lines while typing.

The reader in `rules.schema` has the last word; the schema knows no units and no expressions.
"""

from __future__ import annotations

import re
from typing import Any

from contracts.groups import KINDS
from contracts.quantities import FAMILIES
from contracts.rulebook import LATE
from contracts.spots import SPOTS
from rules import durations, lasting, overrides, quieting, read_schedule, read_when, schema
from rules.calendar import DAY_WORDS
from rules.flapping import MOST_RAISES
from rules.zones import DEFAULT_ZONE

NAME = "rules.schema.json"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gridwarden rules",
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {
            "rules": {"type": "array", "items": _rule()},
            "overrides": {"type": "array", "items": _override()},
            "extends": {
                "type": "string",
                "minLength": 1,
                "description": "The layer below: shipped, or the relative path of a folder",
                "examples": ["shipped", "../district"],
            },
            "layer": {
                "type": "string",
                "minLength": 1,
                "description": "What this folder is called on alerts; its own name if left out",
            },
            "schedules": _named(_schedule(), read_schedule.NAME, "Times that `during` may name"),
            "calendar": _named(_day(), read_schedule.DATES, "Holidays and worked weekend days"),
        },
    }


def _named(value: dict[str, Any], name: re.Pattern[str], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "propertyNames": {"pattern": f"^{name.pattern}$"},
        "additionalProperties": value,
    }


def _schedule() -> dict[str, Any]:
    hours = {"type": "string", "pattern": f"^{read_schedule.HOURS.pattern}$"}
    day = {"enum": list(DAY_WORDS)}
    part = {
        "type": "object",
        "additionalProperties": False,
        "anyOf": [{"required": ["hours"]}, {"required": ["days"]}],
        "properties": {
            "hours": _one_or_more(hours | {"examples": ["22:00-06:00"]}),
            "days": _one_or_more(day),
            "zone": {"type": "string", "examples": [DEFAULT_ZONE], "default": DEFAULT_ZONE},
        },
    }
    return _one_or_more(part)


def _one_or_more(value: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [value, {"type": "array", "minItems": 1, "items": value}]}


def _day() -> dict[str, Any]:
    name = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
        "properties": dict.fromkeys(read_schedule.KINDS, name),
    }


def _rule() -> dict[str, Any]:
    duration = {"type": "string", "pattern": durations.PATTERN, "examples": ["60s", "2m", "24h"]}
    text = {"type": "string", "minLength": 1}
    properties: dict[str, Any] = {
        "id": {"type": "string", "pattern": f"^{schema.ID.pattern}$"},
        "title": _texts("What people see"),
        "on": _on(),
        "group": {
            "enum": list(KINDS),
            "description": "One alert for the group: when counts devices, as in devices(P) >= 2",
        },
        "when": text
        | {"description": "Raises, e.g. static_pressure < 0.07 MPa, avg(co2, 5m) > 900 ppm"},
        "for": duration | {"description": "How long `when` must hold before it raises"},
        "clear": text | {"description": "Ends the alert; without it, `when` being false does"},
        "clear_for": duration | {"description": "How long `clear` must hold"},
        "severity": {"enum": [1, 2, 3, 4], "description": "1 (Ⅰ, red) to 4 (Ⅳ, blue)"},
        "levels": {
            "type": "array",
            "minItems": 2,
            "description": "Instead of when and severity: the least severe level first",
        },
        "sequence": _sequence(duration),
        "debounce": {
            "type": "string",
            "pattern": f"^({read_when.DEBOUNCE.pattern})$",
            "description": "3 of 5 readings; first 30s: at once, kept; last 30s: steady so long",
            "examples": ["3 of 5", "first 30s", "last 30s"],
        },
        "during": {"anyOf": [{"type": "string", "pattern": f"^{read_schedule.NAME.pattern}$"}]}
        | {"description": "Breached only then: a name out of schedules, or hours and days"},
        "missing": {
            "type": "string",
            "pattern": f"^(hold|{schema.MISSING.pattern})$",
            "examples": ["hold", "unknown after 15m", "raise after 15m"],
        },
        "keep": duration
        | {"description": "How long the alert's end is held off; momentary signals end by it"},
        "flapping": {
            "type": "object",
            "description": "After that many raises within the time, `for` is longer",
            "additionalProperties": False,
            "required": list(lasting.FLAPPING_KEYS),
            "properties": {
                "raises": {"type": "integer", "minimum": 2, "maximum": MOST_RAISES},
                "within": duration,
                "for": duration,
            },
        },
        "late": {"enum": list(LATE), "description": "What readings that are late or old do"},
        "class": {"enum": list(schema.CLASSES)},
        "latched": {"type": "boolean", "description": "Ends only by an operator's reset"},
        "standard": text | {"description": "The clause behind the threshold, or: proposal"},
        "runbook": _texts("What to do"),
        "reason": _texts("Why it rang; {value} {limit} {unit} {device} {place} … are filled in"),
        "condition": {"type": "string", "pattern": f"^{schema.CONDITION.pattern}$"},
        "owner": text,
        "inhibit": _inhibit(duration),
        "shadow": {"type": "boolean", "description": "On trial: recorded, nobody is told"},
        "budget": {
            "type": "string",
            "pattern": f"^{quieting.BUDGET.pattern}$",
            "description": "Beyond it, alerts of that grid and day are level Ⅳ",
            "examples": ["2 per grid and day"],
        },
    }
    name = {"type": "string", "pattern": f"^{schema.CONDITION.pattern}$"}
    properties["levels"]["items"] = {
        "type": "object",
        "additionalProperties": False,
        "required": list(schema.REQUIRED_OF_LEVEL),
        "properties": {key: ({"name": name} | properties)[key] for key in schema.LEVEL_KEYS},
    }
    properties["during"]["anyOf"].append(_schedule())
    either = [key for key in schema.REQUIRED if key in schema.BY_LEVEL]
    sequence = [key if key != "when" else "sequence" for key in either]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [key for key in schema.REQUIRED if key not in either],
        "oneOf": [
            {"required": either},
            {"required": sequence},
            {
                "required": ["levels"],
                "not": {"anyOf": [{"required": [key]} for key in schema.BY_LEVEL]},
            },
        ],
        "properties": {key: properties[key] for key in schema.KEYS},
    }


def _override() -> dict[str, Any]:
    """What may be set is what a rule may have; parts of levels by name."""
    keys = _rule()["properties"]
    level = keys["levels"]["items"]["properties"]
    level = {key: value for key, value in level.items() if key != "name"}
    may_set = {key: value for key, value in keys.items() if key not in overrides.FIXED}
    by_name = {"type": "object", "additionalProperties": {"type": "object", "properties": level}}
    may_set["levels"] = {"anyOf": [keys["levels"], by_name]}
    may_set["enabled"] = {"type": "boolean", "description": "false: nobody asks the rule there"}
    value = {"type": ["string", "number", "boolean"]}
    prefix = {"type": ["string", "number"], "pattern": f"^{overrides.GRID.pattern}$"}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["rule", "set"],
        "properties": {
            "rule": {"type": "string", "pattern": f"^{schema.ID.pattern}$"},
            "where": {
                "type": "object",
                "description": "For which devices; for all if left out",
                "minProperties": 1,
                "properties": {"grid": _one_or_more(prefix | {"examples": ["340199001"]})},
                "additionalProperties": _one_or_more(value),
            },
            "set": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": may_set,
                "patternProperties": {
                    rf"^levels\.[a-z0-9_]+\.{key}$": value for key, value in level.items()
                },
            },
            "why": _texts("Why it is different here"),
        },
    }


def _inhibit(duration: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "array",
        "minItems": 1,
        "description": "While such an alert is open at the same place, this rule's is held back",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["by", "on"],
            "properties": {
                "by": {
                    "type": "string",
                    "pattern": f"^{quieting.BY.pattern}$",
                    "examples": ["gateway.offline", "gateway.*"],
                },
                "on": {"enum": list(SPOTS)},
                "linger": duration
                | {"description": "How long it goes on holding back when it has ended"},
            },
        },
    }


def _sequence(duration: dict[str, Any]) -> dict[str, Any]:
    when = {"type": "string", "minLength": 1}
    step = {
        "type": "object",
        "additionalProperties": False,
        "required": ["when"],
        "properties": {"when": when, "within": duration},
    }
    return {
        "type": "array",
        "description": "Instead of when: conditions that readings meet one after the other",
        "minItems": 2,
        "maxItems": read_when.MOST_STEPS,
        "prefixItems": [step | {"properties": {"when": when}}],
        "items": step | {"required": ["when", "within"]},
    }


def _texts(description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        "required": list(schema.LANGUAGES),
        "properties": {
            language: {"type": "string", "minLength": 1} for language in schema.LANGUAGES
        },
    }


def _on() -> dict[str, Any]:
    value = {"type": ["string", "number", "boolean"]}
    return {
        "type": "object",
        "description": "Devices: their family, and registry attributes with accepted values",
        "required": ["family"],
        "properties": {"family": {"enum": list(FAMILIES)}},
        "additionalProperties": {
            "anyOf": [value, {"type": "array", "minItems": 1, "items": value}]
        },
    }
