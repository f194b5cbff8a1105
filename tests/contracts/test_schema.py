"""The schemas say what the types say, and the AsyncAPI document what the topics say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from app.cli.schema import documents, main
from contracts import topics
from contracts.alerts import encode_event
from contracts.schema import asyncapi, schemas
from dispatch.heartbeat import heartbeat
from tests.contracts.examples import EVENT
from tests.contracts.test_messages import MESSAGES

NATIVE = {"deviceId": "d1", "family": "smoke", "ts": 1, "metrics": {"fire": True, "rssi": None}}
SENML = [{"bn": "d1/", "bt": 1.8e9}, {"n": "fire", "vb": True}]
GOOD: list[tuple[str, Any]] = [
    ("gateway-status", json.loads(MESSAGES["birth"][1])),
    ("confirm", json.loads(MESSAGES["confirm"][1])),
    ("command", json.loads(MESSAGES["resend"][1])),
    ("operator-command", json.loads(MESSAGES["command"][1])),
    ("telemetry", NATIVE),
    ("telemetry", [NATIVE, NATIVE | {"ts": "2026-03-01T08:00:00+08:00", "quality": "stale"}]),
    ("senml", SENML),
    ("reject", {"reason": "bad_json"}),
]
BAD: list[tuple[str, Any]] = [
    ("gateway-status", {"type": "birth"}),
    ("gateway-status", json.loads(MESSAGES["birth"][1]) | {"gateway": "a/b"}),
    ("confirm", {"confirms": [{"boot": "xyz", "upto": 1}]}),
    ("command", {"type": "reboot"}),
    ("operator-command", json.loads(MESSAGES["command"][1]) | {"action": "delete"}),
    ("telemetry", NATIVE | {"family": "toaster"}),
    ("telemetry", NATIVE | {"metrics": {"smell": 1}}),
    ("telemetry", NATIVE | {"metrics": {"fire": "yes"}}),
    ("telemetry", []),
    ("senml", [NATIVE]),
    ("senml", [{"bver": 11}]),
    ("reject", {"reason": "dislike"}),
]


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = schemas()[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", schemas())
def test_is_a_schema_with_a_title(name: str) -> None:
    assert validator(name).schema["title"]


@pytest.mark.parametrize(("name", "message"), GOOD)
def test_good_messages_pass(name: str, message: Any) -> None:
    validator(name).validate(message)


@pytest.mark.parametrize(("name", "message"), BAD)
def test_bad_messages_do_not(name: str, message: Any) -> None:
    assert not validator(name).is_valid(message)


def test_alert_events_need_what_cloudevents_need() -> None:
    schema = validator("alert-event").schema["$defs"]["AlertEvent"]
    assert {"id", "source", "specversion", "type"} <= set(schema["required"])
    assert schema["properties"]["gridcode"] == {"type": "string"}
    assert set(schema["properties"]) >= set(json.loads(encode_event(EVENT)))
    assert "AlertData" in schema["properties"]["data"]["$ref"]


def test_native_and_senml_are_never_both() -> None:
    native, senml = validator("telemetry"), validator("senml")
    for message in (NATIVE, [NATIVE], SENML, []):
        assert not (native.is_valid(message) and senml.is_valid(message))


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for one in part.values():
            yield from references(one)
    elif isinstance(part, list):
        for one in part:
            yield from references(one)


def resolve(document: dict[str, Any], reference: str) -> Any:
    assert reference.startswith("#/")
    part: Any = document
    for key in reference[2:].split("/"):
        part = part[key]
    return part


@pytest.mark.parametrize("name", [*schemas(), "asyncapi"])
def test_every_reference_leads_somewhere(name: str) -> None:
    document = asyncapi("1") if name == "asyncapi" else schemas()[name]
    assert all(resolve(document, reference) for reference in references(document))


def test_asyncapi_addresses_are_the_topics() -> None:
    values = {
        "gateway": "gw-1", "device": "d-1", "family": "smoke", "area6": "340111",
        "street3": "002", "community3": "001", "grid3": "007", "severity": "1",
    }  # fmt: skip
    grid = "340111002001007"
    channels = asyncapi("1")["channels"]
    assert {name: one["address"].format(**values) for name, one in channels.items()} == {
        "packs": topics.pack("gw-1"),
        "tracks": topics.tracks("gw-1"),
        "states": topics.state("gw-1"),
        "acks": topics.ack("gw-1"),
        "commands": topics.cmd("gw-1"),
        "asks": topics.ask("gw-1"),
        "clips": topics.clip("gw-1"),
        "telemetry": topics.foreign(grid, "smoke", "d-1", "tele"),
        "events": topics.foreign(grid, "smoke", "d-1", "evt"),
        "alerts": topics.alert(grid, "smoke", 1),
        "heartbeat": topics.HEARTBEAT,
    }
    subscribed = {re.sub(r"\{\w+\}", "+", one["address"]) for one in channels.values()}
    assert {topics.PACKS, topics.STATES, *topics.FOREIGN} <= subscribed


def test_asyncapi_is_built_as_the_specification_wants() -> None:
    document = asyncapi("1.2.3")
    assert document["asyncapi"].startswith("3.")
    assert document["info"]["version"] == "1.2.3"
    assert document["operations"].keys() == document["channels"].keys()
    for name, channel in document["channels"].items():
        assert set(channel["parameters"]) == set(re.findall(r"\{(\w+)\}", channel["address"]))
        assert all(re.fullmatch(r"[A-Za-z0-9_\-]+", one) for one in channel["parameters"])
        operation = document["operations"][name]
        assert operation["action"] in ("send", "receive")
        assert resolve(document, operation["channel"]["$ref"]) is channel
        # The messages of an operation are those of its own channel (AsyncAPI 3, Operation Object).
        for one in operation["messages"]:
            assert one["$ref"].startswith(f"#/channels/{name}/messages/")


@pytest.mark.parametrize("lag_ms", [0, 10**9])
def test_the_heartbeat_is_as_described(lag_ms: int) -> None:
    _, body = heartbeat(7, lag_ms, 1_772_323_200_000, every_ms=30_000)
    schema = asyncapi("1")["components"]["messages"]["heartbeat"]["payload"]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(body))


def test_docs_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(check=True) == 0, capsys.readouterr().err


def test_check_finds_what_is_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(check=False, folder=tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == documents().keys()
    (tmp_path / "telemetry.json").write_text("{}")
    (tmp_path / "senml.json").unlink()
    (tmp_path / "old.json").write_text("{}")

    assert main(check=True, folder=tmp_path) == 1
    said = capsys.readouterr().err
    assert all(name in said for name in ("telemetry.json", "senml.json", "old.json"))
    assert "confirm.json" not in said
