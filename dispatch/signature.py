"""Signatures of Standard Webhooks (symmetric, v1), both ways."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

TOLERANCE_S = 300


class SignatureRefused(Exception):
    """A message isn't from who has the secret, or is too old; the text says which."""


def sign(secrets: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> str:
    """The `webhook-signature` header: one signature for each secret, over the exact bytes.

    The id must not hold a ".", which separates the signed parts.
    """
    if "." in message_id:
        raise ValueError(f"webhook-id with a full stop: {message_id}")
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        for key in secrets
    )


def verify(
    secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, *, now_s: float
) -> str:
    """The message's id. headers: with lower-case names. Raises `SignatureRefused`."""
    try:
        message_id = headers["webhook-id"]
        stamp = int(headers["webhook-timestamp"])
        offered = headers["webhook-signature"].split()
    except (KeyError, ValueError):
        raise SignatureRefused("a webhook header is missing or malformed") from None
    if abs(now_s - stamp) > TOLERANCE_S:
        raise SignatureRefused("the timestamp is outside the tolerance")
    signed = f"{message_id}.{stamp}.".encode() + body
    wanted = [hmac.digest(key, signed, hashlib.sha256) for key in secrets]
    for text in offered:
        version, _, encoded = text.partition(",")
        if version != "v1":
            continue
        try:
            given = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        # Compare with all of them: the time taken must not say which one came near.
        if any([hmac.compare_digest(given, digest) for digest in wanted]):  # noqa: C419
            return message_id
    raise SignatureRefused("no signature matches")
