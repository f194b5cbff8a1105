"""JSON messages keep their form: old bytes are read, new fields have defaults."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.messages import (
    BootConfirm,
    Command,
    Confirm,
    GatewayStatus,
    HeldBoot,
    Installed,
    OperatorCommand,
    Resend,
)

BOOT = "00000003" + "9f2c0001"
MESSAGES: dict[str, tuple[msgspec.Struct, bytes]] = {
    "birth": (
        GatewayStatus(
            type="birth", gateway="gw-1", boot=BOOT, wall_ms=1, mono_ms=2, connection=3,
            boots=(HeldBoot(boot=BOOT, oldest=4, next=9),), version="0.1.0",
        ),
        b'{"type":"birth","gateway":"gw-1","boot":"000000039f2c0001","wall_ms":1,"mono_ms":2,'
        b'"connection":3,"boots":[{"boot":"000000039f2c0001","oldest":4,"next":9}],'
        b'"version":"0.1.0","outbox_bytes":0,"outbox_limit":0,"evicted_packs":0,'
        b'"tombstones":0,"disk_full":false}',
    ),
    "confirm": (
        Confirm(confirms=(BootConfirm(boot=BOOT, upto=7, ranges=((9, 9), (12, 20))),)),
        b'{"confirms":[{"boot":"000000039f2c0001","upto":7,"ranges":[[9,9],[12,20]]}]}',
    ),
    "resend": (
        Resend(boot=BOOT, ranges=((8, 8),)),
        b'{"type":"resend","boot":"000000039f2c0001","ranges":[[8,8]]}',
    ),
    "command": (
        OperatorCommand(id="c1", action="acknowledge", alert="a", at_ms=5),
        b'{"id":"c1","action":"acknowledge","alert":"a","at_ms":5,"by":"","disposition":null,'
        b'"note":""}',
    ),
    "installed": (
        Installed(what="rules", hash="ab", active_ms=5),
        b'{"what":"rules","hash":"ab","active_ms":5}',
    ),
    "model": (
        Installed(what="model", hash="ab", active_ms=5, name="falling", threshold=0.25),
        b'{"what":"model","hash":"ab","active_ms":5,"name":"falling","threshold":0.25}',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_kept_bytes_are_read(name: str) -> None:
    message, kept = MESSAGES[name]
    assert msgspec.json.decode(kept, type=type(message)) == message


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_say_at_least_what_they_said(name: str) -> None:
    message, kept = MESSAGES[name]
    said = msgspec.json.decode(msgspec.json.encode(message))
    assert said.items() >= msgspec.json.decode(kept).items()


def test_a_newer_sender_may_say_more() -> None:
    kept = MESSAGES["resend"][1].replace(b'"type"', b'"new":[1],"type"')
    assert msgspec.json.decode(kept, type=Command) == MESSAGES["resend"][0]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param("birth", {"type": "rebirth"}, id="type"),
        pytest.param("birth", {"gateway": "a/b"}, id="gateway"),
        pytest.param("birth", {"gateway": "gw\n"}, id="gateway-line-break"),
        pytest.param("birth", {"boot": "3"}, id="boot"),
        pytest.param("birth", {"boot": BOOT + "\n"}, id="boot-line-break"),
        pytest.param("birth", {"wall_ms": "now"}, id="time"),
        pytest.param("birth", {"boots": [{"boot": BOOT, "oldest": -1, "next": 1}]}, id="oldest"),
        pytest.param("confirm", {"confirms": [{"boot": BOOT, "upto": 2**63}]}, id="beyond-i64"),
        pytest.param("command", {"action": "delete"}, id="action"),
        pytest.param("command", {"disposition": "perhaps"}, id="disposition"),
        pytest.param("resend", {"type": "reboot"}, id="command"),
    ],
)
def test_refused(kind: str, change: dict[str, Any]) -> None:
    message, kept = MESSAGES[kind]
    whole = msgspec.json.decode(kept) | change
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(whole, type(message))
