"""API keys: random tokens, kept on disk as SHA-256, with a role.

A key has 256 random bits, so a plain hash is enough: there is nothing to guess. Keys are shown
once, when they are made, except the local page's own, which stands in a file that only this
user can read.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Literal

import msgspec

Role = Literal["read", "operate"]
CONSOLE = "console"
_PREFIX = "gwk_"


class KeysInvalid(Exception):
    """The key file can't be used; the text is one line that names it and the mend."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    role: Role
    sha256: str


_entries_decoder = msgspec.json.Decoder(list[_Entry])


class Holder(msgspec.Struct, frozen=True):
    """Who a key belongs to: a role or account, never a person."""

    name: str
    role: Role


class KeyRing:
    """The known keys. `path` is a JSON file; a missing one is an empty ring."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: list[_Entry] = []
        if path.exists():
            try:
                self._entries = _entries_decoder.decode(path.read_bytes())
            except (OSError, msgspec.DecodeError) as error:
                raise KeysInvalid(f"{path}: {error}; mend it or remove it") from None

    def check(self, authorization: str | None) -> Holder | None:
        """Whose key an `Authorization: Bearer …` header holds; None = nobody's.

        All keys are compared, in constant time each.
        """
        scheme, _, token = (authorization or "").partition(" ")
        given = _digest(token.strip()) if scheme.lower() == "bearer" else ""
        found = None
        for entry in self._entries:
            if hmac.compare_digest(entry.sha256, given):
                found = Holder(entry.name, entry.role)
        return found

    def names(self) -> list[tuple[str, Role]]:
        return [(entry.name, entry.role) for entry in self._entries]

    def create(self, name: str, role: Role) -> str:
        """A new key under `name`, replacing the one of that name; it is not kept in clear."""
        key = _PREFIX + secrets.token_urlsafe(32)
        self._put(name, role, key)
        return key

    def revoke(self, name: str) -> bool:
        """False when no key has that name."""
        rest = [entry for entry in self._entries if entry.name != name]
        known = len(rest) < len(self._entries)
        if known:
            self._write(rest)
        return known

    def console_key(self, path: Path) -> str:
        """The local page's key, made at the first start and kept in `path` with mode 0600."""
        try:
            key = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            key = self.create(CONSOLE, "operate")
            write_private(path, key.encode() + b"\n")
            return key
        except (OSError, UnicodeDecodeError) as error:
            raise KeysInvalid(f"{path}: {error}; remove it to get a new one") from None
        if self.check(f"Bearer {key}") is None:
            self._put(CONSOLE, "operate", key)
        return key

    def _put(self, name: str, role: Role, key: str) -> None:
        rest = [entry for entry in self._entries if entry.name != name]
        self._write([*rest, _Entry(name=name, role=role, sha256=_digest(key))])

    def _write(self, entries: list[_Entry]) -> None:
        write_private(self._path, msgspec.json.format(msgspec.json.encode(entries)) + b"\n")
        self._entries = entries


def key_file(data: Path) -> Path:
    """Where a server's keys lie in its data folder, hashed."""
    return data / "keys" / "keys.json"


def console_file(data: Path) -> Path:
    """Where the local page's own key lies."""
    return data / "keys" / "console.key"


def page_url(base: str, key: str) -> str:
    """The link to the local page. The key stands behind "#": browsers send it nowhere."""
    return f"{base.rstrip('/')}/#key={key}"


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one that only this user can read; never half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
