"""JSON Schemas of everything that travels as JSON, and the AsyncAPI document of the topics.

Built from the types and from `topics`, so that they can't say anything else; what stands in
docs/schema is written from here and compared in CI.
"""

from __future__ import annotations

from typing import Any

import msgspec

from contracts import topics
from contracts.alert_data import AlertData
from contracts.alerts import SEVERITY, AlertEvent
from contracts.clips import ClipAsk
from contracts.messages import Command, Confirm, GatewayStatus, OperatorCommand
from contracts.notices import BudgetNotice
from contracts.quantities import FAMILIES, QUANTITIES
from contracts.rejects import Reject
from contracts.senml import VERSION as SENML_VERSION
from contracts.senml import SenmlRecord
from contracts.telemetry import Telemetry

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI = "3.0.0"

Document = dict[str, Any]

_TYPES: dict[str, type] = {
    "telemetry": Telemetry,
    "senml": SenmlRecord,
    "gateway-status": GatewayStatus,
    "confirm": Confirm,
    "command": Command,
    "operator-command": OperatorCommand,
    "clip-ask": ClipAsk,
    "alert-event": AlertEvent,
    "reject": Reject,
}
_TITLES = {
    "telemetry": "Native telemetry: one message or an array of them",
    "senml": "A SenML pack (RFC 8428)",
    "gateway-status": "Birth, heartbeat and last will of a gateway",
    "confirm": "Which packs are in the log",
    "command": "Asks an agent for packs again",
    "operator-command": "What was decided about one alert",
    "clip-ask": "Asks a gateway for a clip, or for what it keeps",
    "alert-event": "An alert event (CloudEvents 1.0, structured JSON)",
    "reject": "Why input was refused",
    "budget-notice": "A rule has rung oftener than its budget (CloudEvents 1.0, structured JSON)",
}
_NOTICE = "budget-notice"


_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
_HEARTBEAT: Document = {
    "title": "The dead-man signal (CloudEvents 1.0, structured JSON)",
    "type": "object",
    "required": ["specversion", "id", "source", "type", "time", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": _TEXT,
        "source": _TEXT,
        "type": {"enum": ["io.gridwarden.pipeline.heartbeat", "io.gridwarden.pipeline.stalled"]},
        "time": {"type": "string", "format": "date-time"},
        "data": {
            "type": "object",
            "required": ["position", "lag_ms", "every_ms", "stalled"],
            "properties": {
                "position": _NUMBER,
                "lag_ms": _NUMBER,
                "every_ms": _NUMBER,
                "stalled": {"type": "boolean"},
            },
        },
    },
}


def schemas() -> dict[str, Document]:
    """File name without suffix -> a JSON Schema (draft 2020-12) that stands alone."""
    found: dict[str, Document] = {}
    for name in _TITLES:
        payload, components = _parts("#/$defs/{name}")
        found[name] = {
            "$schema": DIALECT,
            "title": _TITLES[name],
            **payload[name],
            "$defs": _reachable(payload[name], components),
        }
    return found


def _parts(template: str) -> tuple[dict[str, Document], dict[str, Document]]:
    """(schema of each payload, the components they refer to by `template`)."""
    plain, components = msgspec.json.schema_components(
        [*_TYPES.values(), AlertData, BudgetNotice], ref_template=template
    )
    payload = dict(zip([*_TYPES, "alert-data", _NOTICE], plain, strict=True))
    one = payload["telemetry"]
    payload["telemetry"] = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
    payload["senml"] = {"type": "array", "items": payload["senml"], "minItems": 1}
    payload["heartbeat"] = _HEARTBEAT
    # A payload must match one message of its channel only.
    components["SenmlRecord"]["not"] = {"required": ["deviceId"]}
    components["SenmlRecord"]["properties"]["bver"] = {"enum": list(range(1, SENML_VERSION + 1))}
    components["Telemetry"]["properties"]["metrics"]["propertyNames"] = {
        "enum": sorted(quantity.name for quantity in QUANTITIES)
    }
    event = components["AlertEvent"]
    about_budget = event["properties"] | {"data": payload[_NOTICE]}
    payload[_NOTICE] = event | {"title": "BudgetEvent", "properties": about_budget}
    event["properties"]["data"] = payload.pop("alert-data")
    return payload, components


def _reachable(schema: Any, components: dict[str, Document]) -> dict[str, Document]:
    """The components that a schema refers to, directly or through others; sorted by name."""
    found: dict[str, Document] = {}
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            waiting.extend(part.values())
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found[name] = components[name]
                waiting.append(components[name])
    return dict(sorted(found.items()))


_FOREIGN = "grid/v1/{area6}/{street3}/{community3}/{grid3}/{family}/{device}/"
_ALERT = "alert/v1/{area6}/{street3}/{community3}/{grid3}/{family}/{severity}"
_PARAMETERS: dict[str, Document] = {
    "gateway": {"description": "Gateway id, [A-Za-z0-9_-]{1,64}", "examples": ["gw-0001"]},
    "device": {"description": "Device id, [A-Za-z0-9_-]{1,64}", "examples": ["fw-0012"]},
    "family": {"description": "Device family", "enum": list(FAMILIES)},
    "area6": {"description": "District: digits 1 to 6 of the grid code", "examples": ["340111"]},
    "street3": {"description": "Street: digits 7 to 9", "examples": ["002"]},
    "community3": {"description": "Community: digits 10 to 12", "examples": ["001"]},
    "grid3": {"description": "Grid: the digits from 13 on", "examples": ["007"]},
    "severity": {"description": "1 (Ⅰ) to 4 (Ⅳ)", "enum": [str(level) for level in SEVERITY]},
}
_MESSAGES: dict[str, tuple[str, str]] = {
    "pack": ("A pack: readings as binary columns", "application/vnd.gridwarden.pack"),
    "telemetry": (_TITLES["telemetry"], "application/json"),
    "senml": (_TITLES["senml"], "application/senml+json"),
    "gateway-status": (_TITLES["gateway-status"], "application/json"),
    "confirm": (_TITLES["confirm"], "application/json"),
    "command": (_TITLES["command"], "application/json"),
    "clip-ask": (_TITLES["clip-ask"], "application/json"),
    "clip-part": ("A part of a clip (contracts/clips.py)", "application/vnd.gridwarden.clip"),
    "alert-event": (_TITLES["alert-event"], "application/cloudevents+json"),
    "budget-notice": (_TITLES["budget-notice"], "application/cloudevents+json"),
    "heartbeat": ("gridwarden is alive, or says that it stalls", "application/cloudevents+json"),
}
# Channel -> (address, messages, what gridwarden does with it, retained, what it is for).
_CHANNELS: dict[str, tuple[str, tuple[str, ...], str, bool, str]] = {
    "packs": (topics.pack("{gateway}"), ("pack",), "receive", False, "Readings of an agent"),
    "tracks": (topics.tracks("{gateway}"), ("pack",), "receive", False, "Tracklets of cameras"),
    "states": (
        topics.state("{gateway}"),
        ("gateway-status",),
        "receive",
        True,
        "Birth, heartbeat and last will of an agent",
    ),
    "acks": (topics.ack("{gateway}"), ("confirm",), "send", False, "Confirms packs to an agent"),
    "commands": (topics.cmd("{gateway}"), ("command",), "send", False, "Asks an agent"),
    "asks": (topics.ask("{gateway}"), ("clip-ask",), "send", False, "Asks for a camera's clip"),
    "clips": (topics.clip("{gateway}"), ("clip-part",), "receive", False, "Clips asked for"),
    "telemetry": (
        _FOREIGN + "tele",
        ("telemetry", "senml"),
        "receive",
        False,
        "Readings of anyone's device",
    ),
    "events": (
        _FOREIGN + "evt",
        ("telemetry", "senml"),
        "receive",
        False,
        "Events of anyone's device, as readings",
    ),
    "alerts": (
        _ALERT,
        ("alert-event", "budget-notice"),
        "send",
        False,
        "Alerts, by place, family and severity",
    ),
    "heartbeat": (
        topics.HEARTBEAT,
        ("heartbeat",),
        "send",
        False,
        "Dead-man signal: when it stops, the pipeline has stopped",
    ),
}


def asyncapi(version: str) -> Document:
    """The AsyncAPI document. `version` is that of the application.

    `send` and `receive` are from the point of view of gridwarden's server side.
    """
    payload, components = _parts("#/components/schemas/{name}")
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "gridwarden",
            "version": version,
            "description": "What crosses the MQTT broker between agents, devices, gridwarden and "
            "the dispatch platform. A pack is binary; its layout stands in contracts/pack.py.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name) for name in _CHANNELS},
        "operations": {name: _operation(name) for name in _CHANNELS},
        "components": {
            "schemas": components,
            "parameters": _PARAMETERS,
            "messages": {name: _message(name, payload.get(name)) for name in _MESSAGES},
        },
    }


def _channel(name: str) -> Document:
    address, messages, _, _, summary = _CHANNELS[name]
    fields = [part[1:-1] for part in address.split("/") if part.startswith("{")]
    return {
        "address": address,
        "summary": summary,
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in messages},
        "parameters": {one: {"$ref": f"#/components/parameters/{one}"} for one in fields},
    }


def _operation(name: str) -> Document:
    _, messages, action, retained, summary = _CHANNELS[name]
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{name}/messages/{one}"} for one in messages],
        "bindings": {"mqtt": {"qos": 1, "retain": retained, "bindingVersion": "0.2.0"}},
    }


def _message(name: str, payload: Document | None) -> Document:
    title, content_type = _MESSAGES[name]
    message: Document = {"name": name, "title": title, "contentType": content_type}
    if payload is not None:
        message["payload"] = payload
    return message
