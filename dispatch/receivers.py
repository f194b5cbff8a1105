"""Who gets alert events: a receiver's name, address and filter, checked before use."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from contracts.alerts import AlertEvent, is_for_receivers

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SECRET = "whsec_"  # noqa: S105 - the prefix that the standard gives to secrets
_SECRET_BYTES = range(24, 65)
_MOST_SECRETS = 2


class ReceiverInvalid(Exception):
    """A receiver can't be used; the text is one line that names the field and the mend."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a receiver gets. severity_most: 4 = all, 1 = only level Ⅰ.

    None that `data.delivery` keeps back: that is decided where the event is made. An alert that
    has been as severe as asked for passes to its end, whatever it falls to.

    An alert whose grid is unknown passes every prefix: a fire must not fall between two desks.
    """

    grid_prefix: str = ""
    severity_most: int = 4

    def wants(self, event: AlertEvent) -> bool:
        here = event.gridcode == "unknown" or event.gridcode.startswith(self.grid_prefix)
        return is_for_receivers(event) and here and worst_severity(event) <= self.severity_most


def worst_severity(event: AlertEvent) -> int:
    """The worst that the alert has had up to this event; older events say one severity only."""
    return int(event.data.get("severity_worst", event.data["severity"]))


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook. secrets: raw keys, newest first; two may overlap while one is replaced."""

    name: str
    url: str
    secrets: tuple[bytes, ...]
    filter: Filter = Filter()
    insecure: bool = False
    timeout_s: float = 15.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host = parts.hostname
        except ValueError:
            raise ReceiverInvalid(f"webhook {self.name}: url: not a URL; write https://…") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ReceiverInvalid(f"webhook {self.name}: url: not http or https; write https://…")
        if parts.scheme == "http" and host not in _LOOPBACK and not self.insecure:
            raise ReceiverInvalid(
                f"webhook {self.name}: url: plain http to {host}; use https, or set insecure = true"
            )
        if not 1 <= len(self.secrets) <= _MOST_SECRETS:
            raise ReceiverInvalid(f"webhook {self.name}: secret_file: give one secret or two")

    def __repr__(self) -> str:
        """Without secrets, and without what a URL may hide in its path and query."""
        return f"Webhook({self.name!r}, host={urlsplit(self.url).hostname!r})"


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """The keys of a secret file: `whsec_` and base64, one a line, newest first.

    Raises `ReceiverInvalid`, never with a secret in its text.
    """
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not ASCII"
        mend = "name a file with the secret in secret_file"
        raise ReceiverInvalid(f"{path}: can't be read ({why}); {mend}") from None
    keys = tuple(_key(path, number, line) for number, line in enumerate(lines, start=1))
    if not 1 <= len(keys) <= _MOST_SECRETS:
        raise ReceiverInvalid(f"{path}: holds {len(keys)} secrets; give one or two")
    return keys


def _key(path: Path, number: int, line: str) -> bytes:
    mend = "write whsec_ and the base64 of 24 to 64 random bytes"
    if not line.startswith(_SECRET):
        raise ReceiverInvalid(f"{path}:{number}: not a webhook secret; {mend}")
    try:
        key = base64.b64decode(line.removeprefix(_SECRET), validate=True)
    except binascii.Error:
        raise ReceiverInvalid(f"{path}:{number}: not base64; {mend}") from None
    if len(key) not in _SECRET_BYTES:
        raise ReceiverInvalid(f"{path}:{number}: {len(key)} bytes; {mend}")
    return key
