"""JSON messages between agent and ingest. Changed by addition only; new fields have defaults."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

# "$" alone lets a line break at the end pass in Python; JSON Schema's dialect has no "\Z".
Boot = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$(?!\n)")]
Sequence = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class HeldBoot(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent still holds of one boot: unconfirmed sequences `oldest..next-1`.

    `oldest` = `next` when nothing is held. `next` is the sequence of the pack to come.
    """

    boot: Boot
    oldest: Sequence
    next: Sequence


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Retained on `gw/v1/{gateway}/state`; `offline` is the MQTT last will or a goodbye.

    wall_ms, mono_ms: the agent's two clocks at the same moment (unix ms, ms since its boot).
    connection: counts the agent's connections, so that a will is matched to its connection.
    evicted_packs, tombstones: packs with readings that were given up, and packs made to say so,
    over the life of the outbox. A tombstone has a sequence of its own and may be folded into a
    later one: sequences that are lost = evicted packs + tombstones that never came.
    """

    type: Literal["birth", "heartbeat", "offline"]
    gateway: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")]
    boot: Boot
    wall_ms: int
    mono_ms: int
    connection: int = 0
    boots: tuple[HeldBoot, ...] = ()
    version: str = ""
    outbox_bytes: int = 0
    outbox_limit: int = 0
    evicted_packs: int = 0
    tombstones: int = 0
    disk_full: bool = False


class BootConfirm(msgspec.Struct, frozen=True, kw_only=True):
    """All sequences up to `upto`, and the closed `ranges` beyond it, are in the log."""

    boot: Boot
    upto: Sequence
    ranges: tuple[tuple[Sequence, Sequence], ...] = ()


class Confirm(msgspec.Struct, frozen=True, kw_only=True):
    """On `gw/v1/{gateway}/ack`, only ever sent after the log has the packs."""

    confirms: tuple[BootConfirm, ...]


class Resend(msgspec.Struct, frozen=True, kw_only=True, tag="resend"):
    """Asks for the closed `ranges` of sequences of one boot again; gone ones by tombstone."""

    boot: Boot
    ranges: tuple[tuple[Sequence, Sequence], ...]


Command = Resend


class OperatorCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What a person or the dispatch platform decided about one alert; a record in the log.

    action: `acknowledge`; `reset` ends a latched alert; `disposition` says what it was.
    by: a role or account, never a person's name. id makes a repeated request harmless.
    """

    id: str
    action: Literal["acknowledge", "reset", "disposition"]
    alert: str
    at_ms: int
    by: str = ""
    disposition: Literal["real", "false", "drill"] | None = None
    note: str = ""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Control record: from this position on, `what` with this content hash is in force.

    settings: what admission tolerates; event time is judged by it, so it belongs to the log.
    activate_ms: rules only. The event time at which they come into force: a reading stamped so
    or later meets them, an earlier one those before. Not given, as in older logs: at once.
    model: what judges for the detector `name` from here on. The record says all of it, no content
    is kept. hash: of the model's manifest; threshold: what the manifest names as such, None = it
    names none.
    """

    what: Literal["rules", "registry", "settings", "model"]
    hash: str
    active_ms: int
    activate_ms: int | None = None
    name: str = ""
    threshold: float | None = None
