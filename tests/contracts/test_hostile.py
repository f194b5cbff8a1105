"""100 000 mutated inputs, seeded: every one is decoded or `Refused`, nothing else happens."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from contracts import pack, senml, telemetry
from contracts.log import decode_bundle, encode_bundle
from contracts.messages import GatewayStatus
from contracts.rejects import Refused
from tests.contracts.examples import BUNDLE, PACKS, T0
from tests.contracts.test_pack import sealed

SEED = 20_260_301


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to four small hurts: bits, bytes, cuts, repeats, and numbers at their limits."""
    whole = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(whole) + 1)
        hurt = chance.randrange(6)
        if hurt == 0 and at < len(whole):
            whole[at] ^= 1 << chance.randrange(8)
        elif hurt == 1 and at < len(whole):
            whole[at] = chance.randrange(256)
        elif hurt == 2:
            del whole[at : at + chance.randrange(1, 9)]
        elif hurt == 3:
            whole[at:at] = whole[at : at + chance.randrange(1, 33)]
        elif hurt == 4:
            whole[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80"])
        else:
            whole[at:at] = chance.choice(JUNK)
    return bytes(whole)


JUNK = [
    b"1e999", b"-1e400", b"null", b"true", b"[[[[", b"{", b"}", b"]", b'"', b"\\ud800", b"\xff",
    b"\0", b"9" * 40, b"NaN", b",", b":", b'"deviceId":', b"-", b".5", b"\n", b"\t",
]  # fmt: skip


HOSTILE: list[Any] = [
    None, True, False, -1, 0, 11, 0.5, 1e300, -1e300, 10**30, 2**63, "", "\n", "fire", "a/b",
    "网格", [], {}, [[]], {"": 0}, "9" * 100,
]  # fmt: skip


def reshaped(data: bytes, chance: random.Random) -> bytes:
    """Good JSON with one to three fields of another kind, another name, or gone."""
    whole = json.loads(data)
    for _ in range(chance.randint(1, 3)):
        objects = [one for one in (whole if isinstance(whole, list) else [whole]) if one]
        objects += [one["metrics"] for one in objects if isinstance(one.get("metrics"), dict)]
        one = chance.choice(objects or [{}])
        key = chance.choice([*one, "bt", "bv", "bver", "deviceId", "metrics", "x_"])
        hurt = chance.randrange(8)
        if hurt == 0:
            one.pop(key, None)
        else:
            one[key] = copy.deepcopy(chance.choice(HOSTILE))
    return json.dumps(whole).encode()


def hurt_json(data: bytes, chance: random.Random) -> bytes:
    return reshaped(data, chance) if chance.random() < 0.5 else mutated(data, chance)


def outcomes(
    seeds: Sequence[bytes],
    decode: Callable[[bytes], object],
    *,
    count: int,
    finish: Callable[[bytes], bytes] = bytes,
    hurt: Callable[[bytes, random.Random], bytes] = mutated,
) -> Counter[str]:
    chance = random.Random(SEED)
    found: Counter[str] = Counter()
    for _ in range(count):
        data = finish(hurt(chance.choice(seeds), chance))
        try:
            decode(data)
        except Refused as refused:
            found[refused.reject.reason.value] += 1
        else:
            found["decoded"] += 1
    assert found.total() == count
    return found


def _sealed_if_long(data: bytes) -> bytes:
    return sealed(data) if len(data) >= pack.HEADER.size else data


_PACKS = [pack.encode(one) for one in PACKS.values()]
_MESSAGES = [
    b'{"deviceId":"fw-0012","family":"firewater","ts":"2026-03-01T08:00:00+08:00","seq":17,'
    b'"metrics":{"static_pressure":0.31,"dynamic_pressure":null},"quality":"good",'
    b'"historical":false,"battery":3.5,"rssi":-71}',
    b'[{"deviceId":"sm-1","family":"smoke","ts":1772323200000,"metrics":{"fire":true}},'
    b'{"deviceId":"sm-2","family":"smoke","ts":1772323200000.5,"metrics":{"tamper":0}}]',
]
_SENML = [
    b'[{"bn":"urn:dev:ow:10e2073a01080063:","bt":1.772323200e9,"bu":"A","bver":5,"n":"voltage",'
    b'"u":"V","v":120.1},{"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3}]',
    b'[{"bn":"sm-1/","n":"fire","vb":true},{"n":"battery","u":"mV","v":3100,"t":-10},'
    b'{"n":"fault","vs":"no","s":3}]',
]


def test_packs() -> None:
    found = outcomes(_PACKS, pack.decode, count=10_000)
    assert found["bad_checksum"] > 1000


def test_packs_with_a_right_checksum() -> None:
    found = outcomes(_PACKS, pack.decode, count=40_000, finish=_sealed_if_long)
    # The deeper checks are reached, and some hurts leave a good pack with other numbers.
    for wanted in ("decoded", "bad_structure", "bad_field", "too_large", "bad_version"):
        assert found[wanted] > 10, found


def test_messages() -> None:
    def decode(data: bytes) -> None:
        batch, origin, rejects = telemetry.decode_many([data, _MESSAGES[0], data])
        # A bad neighbour changes nothing for a good message.
        assert (origin == 1).sum() == 4
        assert len(batch) == len(origin)
        json.dumps([(r.field, r.detail) for _, r in rejects], ensure_ascii=False).encode()
        telemetry.decode(data)

    found = outcomes(_MESSAGES, decode, count=25_000, hurt=hurt_json)
    for wanted in ("decoded", "bad_json", "bad_field", "unknown_family"):
        assert found[wanted] > 10, found


def test_senml() -> None:
    def decode(data: bytes) -> None:
        senml.is_senml(data)
        batch, rejects = senml.decode(data, now_ms=T0, family="smoke", device="d1")
        json.dumps([(r.field, r.detail) for r in rejects], ensure_ascii=False).encode()
        assert telemetry.encode_messages(batch).count(b"\n") <= len(batch)

    found = outcomes(_SENML, decode, count=20_000, hurt=hurt_json)
    for wanted in ("decoded", "bad_json", "bad_field", "bad_version"):
        assert found[wanted] > 10, found


def test_bundles() -> None:
    found = outcomes([encode_bundle(BUNDLE)], lambda data: decode_bundle(data, 1), count=5_000)
    for wanted in ("decoded", "truncated", "bad_structure"):
        assert found[wanted] > 10, found


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_cut_anywhere_is_refused(name: str) -> None:
    data = pack.encode(PACKS[name])
    for end in range(len(data)):
        for cut in (data[:end], _sealed_if_long(data[:end])):
            with pytest.raises(Refused):
                pack.decode(cut)


@pytest.mark.parametrize("name", PACKS)
def test_every_single_flipped_bit_is_noticed(name: str) -> None:
    data = pack.encode(PACKS[name])
    for bit in range(8 * len(data)):
        hurt = bytearray(data)
        hurt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused):
            pack.decode(bytes(hurt))
        with pytest.raises(Refused):
            pack.peek(bytes(hurt))


def test_status_with_a_line_break_in_its_ids_is_refused() -> None:
    good = {"type": "birth", "gateway": "gw", "boot": "0" * 16, "wall_ms": 1, "mono_ms": 1}
    msgspec.convert(good, GatewayStatus)
    for field in ("gateway", "boot"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(good | {field: f"{good[field]}\n"}, GatewayStatus)
