"""The agent's configuration: one TOML file to one frozen object, checked before anything starts.

Secrets come only from files; a `Settings` holds their paths, never their text.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from contracts.topics import ID
from edge.clip_folder import CLIPS_HOURS, CLIPS_MIB
from edge.outbox import OutboxLimits
from edge.packer import PackLimits
from edge.window import WindowLimits

MIB = 1 << 20

Positive = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class SettingsError(Exception):
    """The configuration can't be used; the text names file, field and mend in one line."""


class AgentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """gateway: the id. gateways: lets one process speak for several: a number (`gateway-01`,
    `gateway-02`, ...) or their ids. stop_at_end: end when the source has ended and everything
    is confirmed."""

    gateway: str = ""
    gateways: int | tuple[str, ...] = 1
    heartbeat_ms: Annotated[int, msgspec.Meta(ge=100)] = 10_000
    stop_at_end: bool = False
    log: Annotated[str, msgspec.Meta(pattern="^(debug|info|warning|error)$")] = "info"


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """connections: 0 = one for each gateway, which is what gives each its own last will."""

    host: str
    port: Port | None = None
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    username: str = ""
    password_file: str = ""
    insecure: bool = False
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 30
    connections: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    reconnect_ms: Positive = 500
    reconnect_most_ms: Positive = 30_000


class OutboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """commit_ms: the longest wait for a group commit; with pack.age_ms it is what a power cut
    can take. free_mib: of the disk that the outbox leaves to others."""

    path: str
    limit_mib: Annotated[int, msgspec.Meta(ge=8)] = 256
    free_mib: Annotated[int, msgspec.Meta(ge=0)] = 64
    ballast_mib: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 8
    commit_ms: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50


class PackSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    rows: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 500
    bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 20)] = 64 << 10
    age_ms: Annotated[int, msgspec.Meta(ge=1, le=600_000)] = 500


class WindowSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Packs and bytes that may be unconfirmed, of each gateway."""

    packs: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 32
    bytes: Annotated[int, msgspec.Meta(ge=1024)] = 2 * MIB
    resend_ms: Annotated[int, msgspec.Meta(ge=100)] = 10_000
    resend_most_ms: Annotated[int, msgspec.Meta(ge=100)] = 120_000


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    agent: AgentSettings = AgentSettings()
    broker: BrokerSettings
    outbox: OutboxSettings
    pack: PackSettings = PackSettings()
    window: WindowSettings = WindowSettings()
    source: dict[str, Any]

    def gateway_ids(self) -> tuple[str, ...]:
        agent = self.agent
        if isinstance(agent.gateways, tuple):
            return agent.gateways
        if agent.gateways == 1:
            return (agent.gateway,)
        return tuple(f"{agent.gateway}-{n:02d}" for n in range(1, agent.gateways + 1))

    def pack_limits(self) -> PackLimits:
        return PackLimits(self.pack.rows, self.pack.bytes, self.pack.age_ms)

    def outbox_limits(self) -> OutboxLimits:
        box = self.outbox
        return OutboxLimits(box.limit_mib * MIB, box.free_mib * MIB, box.ballast_mib * MIB)

    def window_limits(self) -> WindowLimits:
        window = self.window
        return WindowLimits(
            packs=window.packs,
            bytes=window.bytes,
            resend_ms=window.resend_ms,
            resend_most_ms=window.resend_most_ms,
        )

    def port(self) -> int:
        return self.broker.port or (8883 if self.broker.tls else 1883)

    def source_kind(self) -> str:
        return str(self.source["kind"])

    def clips(self) -> tuple[str, int, float] | None:
        """(folder, MiB, hours) of the clips of cameras; None when none are kept."""
        folder = self.source.get("clips_dir")
        if self.source_kind() != "camera" or not folder:
            return None
        source = self.source
        return (
            str(folder),
            source.get("clips_mib", CLIPS_MIB),
            source.get("clips_hours", CLIPS_HOURS),
        )

    def source_options(self) -> dict[str, Any]:
        options = {name: value for name, value in self.source.items() if name != "kind"}
        if self.source_kind() == "replay":
            options.setdefault("rejects_file", f"{self.outbox.path}.rejects.jsonl")
        return options


def load(path: Path) -> Settings:
    """Read and check. Paths in it are relative to its folder. Raises `SettingsError`."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}; mend that line") from None
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path}: {_told(str(error))}") from None
    settings = _anchored(settings, path.absolute().parent)
    fault = _fault(settings)
    if fault:
        raise SettingsError(f"{path}: {fault}")
    return settings


def _anchored_camera(camera: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A camera's files, and its url where that is a clip."""
    found = {name: _anchored_option(name, value, folder) for name, value in camera.items()}
    url = found.get("url")
    if isinstance(url, str) and url and "://" not in url:
        found["url"] = str(folder / url)
    return found


_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?$")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
_MISSING = re.compile(r"missing required field `([^`]+)`")


def _told(text: str) -> str:
    """`field: fault; mend` from what the decoder says."""
    found = _PLACE.match(text)
    what, where = (found["what"], found["where"] or "") if found else (text, "")
    for pattern, fault, mend in (
        (_UNKNOWN, "no such setting", "take it out or mend its name (docs/gateway.md lists all)"),
        (_MISSING, "is missing", "add it (docs/gateway.md has an example)"),
    ):
        named = pattern.search(what)
        if named:
            field = f"{where}.{named[1]}".lstrip(".")
            return f"{field}: {fault}; {mend}"
    return f"{where or 'the file'}: {what}; mend the value"


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Relative paths become absolute from the file's folder."""
    broker, box = settings.broker, settings.outbox
    named = {
        name: str(folder / value)
        for name in ("ca_file", "cert_file", "key_file", "password_file")
        if (value := getattr(broker, name))
    }
    return msgspec.structs.replace(
        settings,
        broker=msgspec.structs.replace(broker, **named),
        outbox=msgspec.structs.replace(box, path=str(folder / box.path)),
        source={name: _anchored_option(name, v, folder) for name, v in settings.source.items()},
    )


def _anchored_option(name: str, value: Any, folder: Path) -> Any:
    if isinstance(value, str) and value and (name.endswith(("_file", "_dir"))):
        return str(folder / value)
    if name == "cameras" and isinstance(value, list):
        return [
            _anchored_camera(item, folder) if isinstance(item, dict) else item for item in value
        ]
    if name == "recordings" and isinstance(value, list):
        return [str(folder / item) if isinstance(item, str) else item for item in value]
    return value


def _fault(settings: Settings) -> str:
    """The first thing that can't work, with its mend; "" when there is none."""
    agent, broker = settings.agent, settings.broker
    if isinstance(agent.gateways, int) and not 1 <= agent.gateways <= 1000:
        return "agent.gateways: must be 1 to 1000, or a list of ids; mend the number"
    if isinstance(agent.gateways, int) and not agent.gateway:
        return "agent.gateway: is missing; give this gateway's id"
    ids = settings.gateway_ids()
    for gateway in ids:
        if not ID.fullmatch(gateway):
            return f"agent.gateway: {gateway!r} is no id; use 1 to 64 of A-Z a-z 0-9 _ -"
    if not ids or len(set(ids)) != len(ids):
        return "agent.gateways: the list is empty or names one twice; mend it"
    if not broker.host:
        return "broker.host: is empty; give the broker's name or address"
    if not (broker.tls or broker.insecure or _is_loopback(broker.host)):
        return (
            f"broker.tls: {broker.host} is another machine; set tls = true, or insecure = true "
            "if the line is protected otherwise"
        )
    for name in ("ca_file", "cert_file", "key_file", "password_file"):
        value = getattr(broker, name)
        if value and not Path(value).is_file():
            return f"broker.{name}: {value} is no file; mend the path"
    if broker.password_file and not broker.username:
        return "broker.username: is missing beside password_file; add it"
    if bool(broker.cert_file) != bool(broker.key_file):
        return "broker.cert_file: needs key_file beside it, and the other way round; add it"
    if not isinstance(settings.source.get("kind"), str):
        return 'source.kind: is missing; use "camera", "replay" or "simulate"'
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
