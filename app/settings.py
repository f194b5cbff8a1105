"""Server settings: one frozen object from a TOML file and the environment.

Environment variables override the file: `GRIDWARDEN_HTTP__PORT=8081`. Every mistake is one line
that names the file, the field and the mend.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from rules.zones import zone_names

MILLISECONDS_PER_DAY = 86_400_000
LOOPBACK = ("127.0.0.1", "::1", "localhost")
HELP_PAGE = "docs/configuration.md"

Kind = TypeVar("Kind", bound=BaseSettings)


class SettingsError(Exception):
    """A configuration that can't be used; the text is the one line that a person reads."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MqttSettings(Section):
    """Where the broker is. `auto`: Mosquitto when it is installed, otherwise the built-in one."""

    broker: Literal["auto", "builtin", "mosquitto", "external"] = "auto"
    host: str = "127.0.0.1"
    port: int = Field(1883, ge=0, le=65535, description="0 = any free port (own broker only)")
    username: str = ""
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    insecure: bool = Field(False, description="allow plain MQTT to a host that is not loopback")

    @model_validator(mode="after")
    def _safe(self) -> MqttSettings:
        if self.broker == "external":
            if self.port == 0:
                raise ValueError("port: name the external broker's port")
            if self.host not in LOOPBACK and not (self.tls or self.insecure):
                raise ValueError(f"tls: {self.host} is not this machine; set tls = true")
        elif self.host not in LOOPBACK:
            raise ValueError("host: the own broker listens on loopback only; use an external one")
        return self


class HttpSettings(Section):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)


class EngineSettings(Section):
    """How event time is judged."""

    slack_ms: int = Field(2_000, ge=0, le=600_000)
    idle_ms: int = Field(3_000, ge=100, le=600_000)
    future_ms: int = Field(120_000, ge=1_000)
    snapshot_every_s: int = Field(30, ge=1)
    commit_ms: int = Field(10, ge=0, le=1_000, description="gather time of a group commit")
    mark_ms: int = Field(50, ge=10, le=1_000, description="time marks while something waits")
    reload_s: float = Field(2.0, ge=0, description="looks at the rules folder; 0 = when asked")
    activate_after_ms: int = Field(5_000, ge=100, le=600_000)


class InfluxSettings(Section):
    """Where telemetry goes with `store = "influx"`. The token stands in a file."""

    url: str = Field("http://127.0.0.1:8086", pattern=r"^https?://[^/@\s]+/?$")
    bucket: str = Field("gridwarden", min_length=1)
    org: str = "gridwarden"
    token_file: Path | None = None
    ca_file: Path | None = None
    version: Literal[1, 2] = Field(2, description="of the write API: 2, or 1 of InfluxDB 1")
    gzip: bool = True
    timeout_s: float = Field(10.0, gt=0, le=300)
    spill_bytes: int = Field(1 << 30, ge=1 << 20, description="on disk while it can't be reached")
    settle_s: float = Field(0.0, ge=0, le=60)
    insecure: bool = Field(False, description="allow plain http to a host that is not loopback")

    @model_validator(mode="after")
    def _safe(self) -> InfluxSettings:
        address = urlsplit(self.url)
        if address.scheme == "http" and address.hostname not in LOOPBACK and not self.insecure:
            raise ValueError(f"url: {address.hostname} is not this machine; use https")
        return self


class TelemetrySettings(Section):
    """The queryable store, written behind the log."""

    enabled: bool = True
    store: Literal["sqlite", "influx"] = "sqlite"
    influx: InfluxSettings = InfluxSettings()
    thin_ms: int = Field(10_000, ge=100)
    max_rows_per_s: int = Field(20_000, ge=100)
    keep_days: int = Field(30, ge=1)

    def beside(self, base: Path) -> TelemetrySettings:
        """The same, its files beside the settings file."""
        files = {"token_file": self.influx.token_file, "ca_file": self.influx.ca_file}
        found = {name: base / path for name, path in files.items() if path is not None}
        return self.model_copy(update={"influx": self.influx.model_copy(update=found)})


class RetentionSettings(Section):
    raw_bytes: int = Field(20 << 30, ge=64 << 20)
    segment_bytes: int = Field(256 << 20, ge=1 << 20)
    min_free_bytes: int = Field(512 << 20, ge=0)
    reserve_bytes: int = Field(64 << 20, ge=1 << 20)
    quarantine_rows: int = Field(100_000, ge=100)


class WebhookSettings(Section):
    """One receiver. Secrets stand in files, one per line, newest first."""

    name: str = Field(pattern="^[a-z0-9_-]{1,40}$")
    url: str
    secret_file: Path
    grid_prefix: str = Field("", pattern="^[0-9A-Za-z]*$")
    min_severity: int = Field(4, ge=1, le=4, description="4 = all, 1 = only level I")
    insecure: bool = Field(False, description="allow plain http to a host that is not loopback")


def _named_once(value: tuple[WebhookSettings, ...]) -> tuple[WebhookSettings, ...]:
    names = [hook.name for hook in value]
    if len(set(names)) != len(names):
        raise ValueError("name: two webhooks have the same name")
    return value


Webhooks = Annotated[tuple[WebhookSettings, ...], AfterValidator(_named_once)]


class DispatchSettings(Section):
    heartbeat_s: float = Field(30.0, gt=0)
    remind_s: float = Field(60.0, gt=0)
    mqtt_alerts: bool = True


class DetectSettings(Section):
    """Detectors that run beside the rules. A model is a folder with its manifest."""

    inactivity: bool = Field(True, description="quiet homes; idle where the registry has none")
    inactivity_model: Path | None = Field(None, description="another model than the shipped one")
    falling: bool = Field(True, description="falling objects; idle without cameras' tracklets")
    falling_model: Path | None = Field(None, description="another model than the shipped one")
    zone: str = Field("", description="time zone of the homes; Asia/Shanghai if not given")

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and value not in zone_names():
            raise ValueError(f"{value!r} is no time zone; e.g. Asia/Shanghai")
        return value

    def beside(self, base: Path) -> DetectSettings:
        """The same, its folders beside the settings file."""
        folders = {name: getattr(self, name) for name in ("inactivity_model", "falling_model")}
        found = {name: base / folder for name, folder in folders.items() if folder is not None}
        return self.model_copy(update=found)


class Settings(BaseSettings):
    """Everything a server needs to know. Paths are relative to the file that names them."""

    model_config = SettingsConfigDict(
        env_prefix="GRIDWARDEN_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data: Path = Path("var/gridwarden")
    registry: Path | None = None
    rules: Path | None = None
    mqtt: MqttSettings = MqttSettings()
    http: HttpSettings = HttpSettings()
    engine: EngineSettings = EngineSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    retention: RetentionSettings = RetentionSettings()
    dispatch: DispatchSettings = DispatchSettings()
    detect: DetectSettings = DetectSettings()
    webhook: Webhooks = ()


def load(
    path: Path | None,
    *,
    data: Path | None = None,
    broker: str | None = None,
    http_port: int | None = None,
) -> Settings:
    """Settings from a TOML file (or defaults), the environment, then what the caller names.

    Raises `SettingsError` with one line: file, field, mend.
    """
    named: dict[str, Any] = {}
    if broker is not None:
        named["mqtt"] = {"broker": broker}
    if http_port is not None:
        named["http"] = {"port": http_port}
    settings = read(Settings, path, named)
    base = path.parent if path is not None else Path()
    settings = _resolved(settings, base)
    return settings if data is None else settings.model_copy(update={"data": data})


def read(
    kind: type[Kind], path: Path | None, named: dict[str, Any], help_page: str = HELP_PAGE
) -> Kind:
    """A file's values, over those the environment's, over those the ones that are `named`.

    Raises `SettingsError` with one line: file, field, mend.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(
                f"{path}: can't be read ({error.strerror}); check --config"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: not TOML: {error}") from None
    try:
        return _over(kind, values)(**named)
    except ValidationError as error:
        raise SettingsError(_one_line(path, error, help_page)) from None


def _over(kind: type[Kind], file: dict[str, Any]) -> type[Kind]:
    """The settings with a file's values below the environment's, and those below the arguments."""

    class OverFile(kind):  # type: ignore[valid-type, misc]
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            return init_settings, env_settings, InitSettingsSource(settings_cls, file)

    return OverFile


def _one_line(path: Path | None, error: ValidationError, help_page: str) -> str:
    first = error.errors()[0]
    at = ".".join(str(part) for part in first["loc"]) or "settings"
    said = first["msg"].removeprefix("Value error, ")
    mend = (
        f"remove it or see {help_page} for the known keys"
        if first["type"] == "extra_forbidden"
        else said
    )
    return f"{path or 'environment'}: {at}: {mend}"


def _resolved(settings: Settings, base: Path) -> Settings:
    """Paths relative to the settings file."""

    def at(path: Path | None) -> Path | None:
        return None if path is None else base / path

    hooks = tuple(
        hook.model_copy(update={"secret_file": base / hook.secret_file})
        for hook in settings.webhook
    )
    mqtt = settings.mqtt.model_copy(
        update={
            "password_file": at(settings.mqtt.password_file),
            "ca_file": at(settings.mqtt.ca_file),
        }
    )
    return settings.model_copy(
        update={
            "data": base / settings.data,
            "registry": at(settings.registry),
            "rules": at(settings.rules),
            "webhook": hooks,
            "detect": settings.detect.beside(base),
            "mqtt": mqtt,
            "telemetry": settings.telemetry.beside(base),
        }
    )
