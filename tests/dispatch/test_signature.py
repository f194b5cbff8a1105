"""Signatures, against the reference library of Standard Webhooks, both ways."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Reference
from standardwebhooks import WebhookVerificationError

from contracts.alerts import encode_event
from dispatch.receivers import Filter, ReceiverInvalid, Webhook, read_secrets
from dispatch.signature import SignatureRefused, sign, verify
from tests.dispatch import scene

OLD, NEW = bytes(range(24)), bytes(range(64))


def headers(signature: str, stamp: int, name: str = "m1") -> dict[str, str]:
    return {
        "webhook-id": name,
        "webhook-timestamp": str(stamp),
        "webhook-signature": signature,
    }


@pytest.mark.parametrize("key", [OLD, NEW], ids=["old", "new"])
def test_the_reference_library_accepts_ours_with_either_secret(key: bytes) -> None:
    event = scene.fire()
    body, now = encode_event(event), int(time.time())

    signed = headers(sign([NEW, OLD], event.id, now, body), now, event.id)

    text = "whsec_" + base64.b64encode(key).decode()
    assert Reference(text).verify(body, signed) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Reference(text).verify(body + b" ", signed)


@given(st.text(alphabet=st.characters(codec="utf-8")), st.integers(0, 2**31))
def test_we_accept_what_the_reference_library_signs(body: str, stamp: int) -> None:
    made = Reference(OLD).sign("m1", datetime.fromtimestamp(stamp, UTC), body)

    assert sign([OLD], "m1", stamp, body.encode()) == made
    assert verify([NEW, OLD], headers(made, stamp), body.encode(), now_s=stamp) == "m1"


@pytest.mark.parametrize(
    ("changed", "now_s"),
    [
        pytest.param({"webhook-id": "m2"}, 1000, id="other-id"),
        pytest.param({"webhook-timestamp": "1001"}, 1000, id="other-time"),
        pytest.param({"webhook-timestamp": "soon"}, 1000, id="no-time"),
        pytest.param({"webhook-signature": ""}, 1000, id="none"),
        pytest.param({"webhook-signature": "v1,!!! v1 v2,AAAA"}, 1000, id="malformed"),
        pytest.param({}, 1301, id="too-old"),
        pytest.param({}, 699, id="too-new"),
    ],
)
def test_refusals(changed: dict[str, str], now_s: int) -> None:
    good = headers(sign([OLD], "m1", 1000, b"{}"), 1000)
    assert verify([OLD], good, b"{}", now_s=1000) == "m1"

    with pytest.raises(SignatureRefused):
        verify([OLD], good | changed, b"{}", now_s=now_s)


def test_an_id_with_a_full_stop_is_never_signed() -> None:
    with pytest.raises(ValueError, match="full stop"):
        sign([OLD], "a.b", 1, b"")


def _secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def test_secret_files(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{_secret(NEW)}\n{_secret(OLD)}\n")

    assert read_secrets(path) == (NEW, OLD)


@pytest.mark.parametrize(
    "content",
    ["", "hunter2hunter2", _secret(b"short"), "whsec_%%%", "\n".join([_secret(OLD)] * 3)],
    ids=["empty", "no-prefix", "short", "no-base64", "three"],
)
def test_bad_secret_files_are_named_without_the_secret(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content)

    with pytest.raises(ReceiverInvalid) as refused:
        read_secrets(path)

    assert str(path) in str(refused.value)
    for line in content.split():
        assert line not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "insecure", "fine"),
    [
        ("https://dispatch.example/events", False, True),
        ("http://127.0.0.1:9/events", False, True),
        ("http://[::1]:9/", False, True),
        ("http://dispatch.example/events", False, False),
        ("http://dispatch.example/events", True, True),
        ("http://127.0.0.1.evil.example/", False, False),
        ("ftp://127.0.0.1/", False, False),
        ("https://", False, False),
        ("nonsense", False, False),
    ],
)
def test_plain_http_only_to_this_machine(url: str, insecure: bool, fine: bool) -> None:
    if fine:
        hook = Webhook("desk", url, (OLD,), Filter(), insecure=insecure)
        assert repr(OLD) not in repr(hook)
    else:
        with pytest.raises(ReceiverInvalid, match="webhook desk: url"):
            Webhook("desk", url, (OLD,), Filter(), insecure=insecure)
