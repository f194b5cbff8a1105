"""JSON Schema of test files, for editors: completion and red lines while typing.

The reader in `rules.testing.document` has the last word.
"""

from __future__ import annotations

from typing import Any

from contracts.quantities import FAMILIES, QUANTITY_INDEX
from rules import durations
from rules.testing.checks import CHANGES, CHECKS, Check
from rules.testing.document import KEYS, TOP
from rules.testing.faults import FORMS
from rules.testing.happenings import ACTIONS, DISPOSITIONS

NAME = "rule-tests.schema.json"
_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_ID: dict[str, Any] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_DURATION: dict[str, Any] = {"type": "string", "pattern": durations.PATTERN}
_OFFSET: dict[str, Any] = {"type": ["string", "number"], "examples": ["0s", "90s", "1m30s"]}
_WORD: dict[str, Any] = {"type": ["string", "number", "boolean"]}


def json_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gridwarden rule tests",
        "required": ["tests"],
        **_object({key: _OF_KEY.get(key, _TEXT) for key in TOP} | {"tests": _list(_test())}),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _test() -> dict[str, Any]:
    lists = {
        "series": _list(_series()),
        "faults": _list(_fault()),
        "commands": _list(_command()),
        "expect": _list(_expectation()),
    }
    properties = {key: lists.get(key) or _OF_KEY.get(key, _TEXT) for key in KEYS}
    return {"required": ["name", "series", "expect"], **_object(properties)}


def _series() -> dict[str, Any]:
    values = {"type": ["string", "number"], "examples": ["0.12x5 0.05+0.01x10 _x3 stale"]}
    devices = {"anyOf": [_ID, _list(_ID)]}
    own = {"device": devices, "from": _OFFSET, "interval": _DURATION}
    return _object(own | dict.fromkeys(QUANTITY_INDEX, values))


def _fault() -> dict[str, Any]:
    kinds = {kind: _TEXT | {"examples": [example]} for kind, (_, example) in FORMS.items()}
    return {**_object(kinds), "minProperties": 1, "maxProperties": 1}


def _command() -> dict[str, Any]:
    disposition = {"enum": [*DISPOSITIONS, False]}
    own = {"at": _OFFSET, "device": _ID, "is": disposition}
    return {"required": ["at"], **_object(own | dict.fromkeys(ACTIONS, _TEXT))}


def _expectation() -> dict[str, Any]:
    own = {
        "at": _OFFSET | {"description": "Event time of the change"},
        "known_at": _OFFSET | {"description": "When it became known"},
        "is": {"enum": list(CHANGES)},
        "rule": _TEXT,
        "device": _TEXT,
    }
    fields = {name: _field(check) for name, check in CHECKS.items()}
    return {"required": ["at", "is"], **_object(fields | own)}


def _field(check: Check) -> dict[str, Any]:
    if check.kind == "flag":
        return {"type": "boolean"}
    if check.kind == "word" and check.choices:
        # Some words, as false, are no texts to YAML.
        return {"enum": [*check.choices, *([False] if "false" in check.choices else [])]}
    return _WORD


_OF_KEY: dict[str, dict[str, Any]] = {
    "interval": _DURATION,
    "until": _OFFSET,
    "seed": {"type": ["integer", "string"]},
    "device": _TEXT,
    "start": {"type": "string", "description": "RFC 3339 with its offset from UTC"},
    "devices": {
        "type": "object",
        "propertyNames": _ID,
        "additionalProperties": {
            "type": "object",
            "required": ["family"],
            "properties": {"family": {"enum": list(FAMILIES)}, "gateway": _ID},
            "additionalProperties": _WORD,
        },
    },
}
