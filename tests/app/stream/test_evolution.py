"""Old workers and new records, and the reverse: by bytes, as they come from the topic.

What can be read is; what can't is a dead letter with a reason, and the partition goes on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.content import content_hash, pack_files
from app.contents import Contents
from app.stream.partition import Outputs, Partition
from contracts import pack
from contracts.batch import ReadingBatch
from contracts.log import LogRecord, RecordKind, decode_bundle, encode_bundle
from contracts.messages import Installed
from contracts.pack import Pack, PackHeader
from ingest.partition import Bundle
from tests.app.stream.test_signals import Held

T0 = 1_767_225_600_000
GATEWAY = "gw-1"
GOLDENS = Path(__file__).parents[2] / "contracts" / "goldens"
RULES = pack_files({"fire.yml": b"""
rules:
  - id: smoke.fire
    title: {zh: f, en: f}
    on: {family: smoke}
    when: fire != 0
    severity: 1
"""})  # fmt: skip
HEAD = LogRecord(
    RecordKind.INSTALLED,
    T0,
    "",
    msgspec.json.encode(Installed(what="rules", hash=content_hash(RULES), active_ms=T0)),
)


def packed(seq: int, *quantities: str) -> bytes:
    at_ms = T0 + seq
    rows = [(f"sd-{seq}", "smoke", name, at_ms, 1.0, 0) for name in quantities or ("fire",)]
    return pack.encode(Pack(PackHeader(GATEWAY, 1, seq, at_ms, at_ms), ReadingBatch.of(rows)))


def sealed(data: bytearray) -> bytes:
    """With its length and checksum right again."""
    struct.pack_into("<I", data, 8, len(data))
    crc = zlib.crc32(data[16:], zlib.crc32(data[:12]))
    struct.pack_into("<I", data, 12, crc)
    return bytes(data)


def with_a_new_column(data: bytes) -> bytes:
    """A section that this version doesn't know, behind the others."""
    found = bytearray(data)
    (sections,) = struct.unpack_from("<H", found, 6)
    struct.pack_into("<H", found, 6, sections + 1)
    content = b"\7" * 8
    return sealed(found + struct.pack("<HHI", 900, 250, len(content)) + content)


def of_version(data: bytes, version: int) -> bytes:
    found = bytearray(data)
    found[4] = version
    return sealed(found)


def with_a_strange_quantity(seq: int) -> bytes:
    """One of the same length as `fire` that a later table has."""
    return sealed(bytearray(packed(seq, "fire").replace(b"fire", b"soot")))


def framed(kind: int, payload: bytes, source: bytes = b"gw-1") -> bytes:
    return struct.pack("<BBHIq", kind, 0, len(source), len(payload), T0 + 5) + source + payload


def worked(*values: bytes) -> Outputs:
    partition = Partition(0, Contents(Held({content_hash(RULES): RULES})))
    head = encode_bundle([HEAD])
    return partition.work([Bundle(n, T0 + 100, value) for n, value in enumerate((head, *values))])


def fires(outputs: Outputs) -> list[str]:
    return [event.data["device"] for event in outputs.events]


GOOD = framed(RecordKind.PACK, packed(9))
"""Comes behind all that is strange, in the same bundle."""


@pytest.mark.parametrize(
    ("strange", "rings"),
    [
        pytest.param(framed(1, with_a_new_column(packed(1))), ["sd-1"], id="column"),
        pytest.param(
            framed(3, msgspec.json.encode({
                "type": "birth", "gateway": GATEWAY, "boot": "0" * 15 + "1", "wall_ms": T0,
                "mono_ms": T0, "mood": "fine", "boots": [],
            })), [], id="status field",
        ),
        pytest.param(
            framed(5, msgspec.json.encode({
                "id": "c", "action": "acknowledge", "alert": "a", "at_ms": T0, "channel": "sms",
            }), b""), [], id="command field",
        ),
        pytest.param(
            framed(6, msgspec.json.encode({
                "what": "rules", "hash": content_hash(RULES), "active_ms": T0, "signed": "x",
            }), b""), [], id="control field",
        ),
    ],
)  # fmt: skip
def test_what_a_newer_version_adds_is_passed_over(strange: bytes, rings: list[str]) -> None:
    outputs = worked(strange + GOOD)
    assert outputs.letters == []
    assert fires(outputs) == [*rings, "sd-9"]


@pytest.mark.parametrize(
    ("strange", "reason", "field"),
    [
        pytest.param(framed(9, b"anything"), "bad_version", "kind", id="kind of record"),
        pytest.param(framed(1, of_version(packed(1), 2)), "bad_version", "version", id="pack"),
        pytest.param(framed(1, with_a_strange_quantity(1)), "unknown_quantity", "", id="quantity"),
        pytest.param(
            framed(6, msgspec.json.encode({"what": "weather", "hash": "x", "active_ms": T0}), b""),
            "bad_field", "installed", id="control",
        ),
        pytest.param(
            framed(5, msgspec.json.encode({"id": "c", "action": "sing", "alert": "a", "at_ms": 1}),
                   b""), "bad_field", "command", id="command",
        ),
        pytest.param(
            framed(3, msgspec.json.encode({"type": "reborn", "gateway": GATEWAY})), "bad_field",
            "", id="status",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_letter_and_stops_nothing(
    strange: bytes, reason: str, field: str
) -> None:
    outputs = worked(strange + GOOD)
    assert fires(outputs) == ["sd-9"]
    (letter,) = outputs.letters
    assert (letter.reason, letter.offset) == (reason, 1)
    assert field in letter.field
    assert letter.size > 0
    assert letter.payload


def test_a_new_kind_is_damage_in_a_log_that_only_we_write() -> None:
    with pytest.raises(Exception, match="9 is no kind"):
        decode_bundle(framed(9, b"anything"), 1)


def test_the_first_version_of_everything_can_be_read() -> None:
    old = (GOLDENS / "pack_v1_readings.bin").read_bytes()
    gateway = pack.peek_header(old)[0].gateway
    outputs = worked(framed(RecordKind.PACK, old, gateway.encode()), GOOD)
    assert "sd-9" in fires(outputs)
    # Its rows are stamped as far ahead as goldens are; each is judged one by one.
    assert {one.reason for one in outputs.letters} == {"future_timestamp"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda head: head.pop("models"), id="older"),
        pytest.param(lambda head: head.update(moons=[1]), id="newer"),
    ],
)
def test_state_of_a_neighbouring_version_is_taken_up(
    change: Callable[[dict[str, Any]], object],
) -> None:
    contents = Contents(Held({content_hash(RULES): RULES}))
    partition = Partition(0, contents)
    partition.work([Bundle(0, T0 + 100, encode_bundle([HEAD]))])
    chunks = partition.freeze().chunks()
    head = msgspec.json.decode(chunks["head"])
    change(head)
    chunks |= {"head": msgspec.json.encode(head), "judge-falling": b"\xc1", "later": b"x"}
    again = Partition.restored(0, contents, chunks)
    assert fires(again.work([Bundle(1, T0 + 100, GOOD)])) == ["sd-9"]
