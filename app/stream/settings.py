"""Settings of everything that meets Kafka: one TOML file for bridges, workers and publishing.

Environment variables override the file: `GRIDWARDEN_KAFKA__BOOTSTRAP=k1:9093,k2:9093`.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.settings import (
    LOOPBACK,
    DetectSettings,
    DispatchSettings,
    EngineSettings,
    HttpSettings,
    Section,
    SettingsError,
    TelemetrySettings,
    Webhooks,
    read,
)
from app.stream.topics import RECORD_BYTES, TopicPlan, Topics, topics_of

HELP_PAGE = "docs/scale-out.md"

S = TypeVar("S", bound=Section)


class KafkaSettings(Section):
    """Where Kafka is and how to get in. Secrets stand in files."""

    bootstrap: str = Field("127.0.0.1:9092", description="host:port of brokers, by commas")
    tls: bool = False
    ca_file: Path | None = Field(None, description="none = the system's authorities")
    cert_file: Path | None = Field(None, description="a client's certificate, with key_file")
    key_file: Path | None = None
    sasl: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    username: str = ""
    password_file: Path | None = None
    insecure: bool = Field(False, description="allow plain Kafka to a host that is not loopback")

    @property
    def servers(self) -> list[str]:
        return [one.strip() for one in self.bootstrap.split(",") if one.strip()]

    @model_validator(mode="after")
    def _safe(self) -> KafkaSettings:
        if not self.servers:
            raise ValueError("bootstrap: name at least one host:port")
        hosts = [server.rpartition(":")[0].strip("[]") for server in self.servers]
        away = [host for host in hosts if host not in LOOPBACK]
        if away and not (self.tls or self.insecure):
            raise ValueError(f"tls: {away[0]} is not this machine; set tls = true")
        if self.sasl and not (self.username and self.password_file):
            raise ValueError("username: sasl wants username and password_file")
        if self.cert_file is not None and not self.tls:
            raise ValueError("tls: cert_file wants tls = true")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("key_file: cert_file and key_file go together")
        return self


class TopicSettings(Section):
    """The layout of the topics, see `app.stream.topics`."""

    prefix: str = Field("gridwarden.", pattern=r"^[a-zA-Z0-9._-]{0,100}$")
    partitions: int = Field(8, ge=1, le=4_096)
    replication: int = Field(1, ge=1, le=9)
    min_insync: int = Field(1, ge=1, le=9)
    log_days: float = Field(7.0, gt=0)
    alerts_days: float = Field(90.0, gt=0)
    letters_days: float = Field(14.0, gt=0)
    signals_days: float = Field(30.0, gt=0, description="of `tracks` and `homes`")

    @model_validator(mode="after")
    def _possible(self) -> TopicSettings:
        if self.min_insync > self.replication:
            raise ValueError("min_insync: at most as many as replication")
        return self


class BridgeMqttSettings(Section):
    """The broker that gateways and devices speak to."""

    host: str = "127.0.0.1"
    port: int = Field(1883, ge=1, le=65535)
    username: str = ""
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    insecure: bool = Field(False, description="allow plain MQTT to a host that is not loopback")
    client_id: str = Field("", max_length=128, description="'' = gridwarden-bridge-{host name}")
    share: str = Field("gridwarden", pattern=r"^[A-Za-z0-9_-]{1,60}$")
    session_s: int = Field(86_400, ge=0, le=0xFFFFFFFE, description="kept without the bridge")
    receive_maximum: int = Field(1_024, ge=1, le=65_535)

    @property
    def named(self) -> str:
        return self.client_id or f"gridwarden-bridge-{socket.gethostname()}"

    @model_validator(mode="after")
    def _safe(self) -> BridgeMqttSettings:
        if self.host not in LOOPBACK and not (self.tls or self.insecure):
            raise ValueError(f"tls: {self.host} is not this machine; set tls = true")
        return self


class BridgeSettings(Section):
    """How packs become records of Kafka."""

    bundle_bytes: int = Field(64 << 10, ge=1 << 10, le=RECORD_BYTES // 2)
    bundle_ms: int = Field(50, ge=0, le=5_000)
    waiting_bytes: int = Field(64 << 20, ge=1 << 20, description="taken and not yet in Kafka")
    compression: Literal["none", "gzip"] = "none"
    stuck_s: float = Field(10.0, gt=0, description="a bundle so old makes health say so")


class WorkerSettings(Section):
    """Who decides, and when its state is saved."""

    group: str = Field("", max_length=200, description="'' = {topics.prefix}workers")
    instance: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="a name of its own: static membership"
    )
    session_s: float = Field(30.0, ge=6, le=300, description="silent so long, others take over")
    snapshot_every_s: float = Field(30.0, ge=1)
    marks: bool = Field(True, description="tell the time once a second; off: someone else does")
    stuck_s: float = Field(60.0, ge=5, description="no progress for so long ends the process")
    waiting_bytes: int = Field(64 << 20, ge=1 << 20, description="read and not yet decided")
    from_earliest: bool = Field(
        False, description="go on although records before the oldest are gone undecided"
    )


class PublishSettings(Section):
    """How a registry is divided over partitions."""

    cells: Literal["grid", "community"] = Field(
        "grid", description="`community`: rules may speak of groups over a whole community"
    )


class StreamHttpSettings(Section):
    """/health and /metrics."""

    host: str = "127.0.0.1"
    port: int = Field(9464, ge=0, le=65535, description="0 = any free port")


class StreamSettings(BaseSettings):
    """Everything that a bridge, a worker, `publish` or a copy of dispatch needs to know.

    detect, telemetry: of workers. data: what dispatch keeps, and what workers couldn't write to the
    telemetry store yet. console, dispatch, webhook: of dispatch alone.
    """

    model_config = SettingsConfigDict(
        env_prefix="GRIDWARDEN_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    mqtt: BridgeMqttSettings = BridgeMqttSettings()
    bridge: BridgeSettings = BridgeSettings()
    publish: PublishSettings = PublishSettings()
    worker: WorkerSettings = WorkerSettings()
    http: StreamHttpSettings = StreamHttpSettings()
    engine: EngineSettings = EngineSettings()
    detect: DetectSettings = DetectSettings()
    telemetry: TelemetrySettings = TelemetrySettings(enabled=False)
    data: Path = Path("var/gridwarden-dispatch")
    console: HttpSettings = HttpSettings()
    dispatch: DispatchSettings = DispatchSettings()
    webhook: Webhooks = ()

    @property
    def workers(self) -> str:
        """The consumer group."""
        return self.worker.group or f"{self.topics.prefix}workers"

    @property
    def layout(self) -> Topics:
        return topics_of(TopicPlan(**self.topics.model_dump()))


def load(path: Path | None) -> StreamSettings:
    """Paths are relative to the file. Raises `SettingsError` with one line: file, field, mend."""
    settings = read(StreamSettings, path, {}, HELP_PAGE)
    base = path.parent if path is not None else Path()
    return settings.model_copy(
        update={
            "kafka": _at(base, settings.kafka),
            "mqtt": _at(base, settings.mqtt),
            "detect": settings.detect.beside(base),
            "telemetry": settings.telemetry.beside(base),
            "data": base / settings.data,
            "webhook": tuple(_at(base, hook) for hook in settings.webhook),
        }
    )


def secret(path: Path | None) -> str:
    """The first line of a file, "" without one. Raises `SettingsError`."""
    if path is None:
        return ""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: can't be read ({error}); check password_file") from None
    if not lines or not lines[0].strip():
        raise SettingsError(f"{path}: is empty; write the password into its first line")
    return lines[0].strip()


def _at(base: Path, section: S) -> S:
    """The section with its files beside the settings file."""
    names = ("ca_file", "cert_file", "key_file", "password_file", "secret_file")
    found = {name: getattr(section, name, None) for name in names}
    return section.model_copy(
        update={name: base / path for name, path in found.items() if path is not None}
    )
