"""The telemetry store that the settings name, for every runner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from secrets import SystemRandom
from typing import TYPE_CHECKING

from app.settings import InfluxSettings, SettingsError, TelemetrySettings
from contracts.rejects import Reason, Reject
from ingest.telemetry import SqliteReader, SqliteTelemetry, TelemetryReader, TelemetryStore

if TYPE_CHECKING:
    from ingest.telemetry.influx import Address

SOURCE = "telemetry"
"""What letters of the store name as their source."""

Letters = Callable[[Sequence[tuple[str, bytes, Reject]], int], None]
"""Takes (source, content, why) of what was refused, and when it was heard."""


def open_telemetry(
    settings: TelemetrySettings,
    folder: Path,
    *,
    clock: Callable[[], int],
    letters: Letters,
) -> TelemetryStore | None:
    """The store, or None where there is to be none. folder: for what it keeps on this machine.

    Raises `SettingsError`, `StoreError`.
    """
    if not settings.enabled:
        return None
    if settings.store == "influx":
        return _influx(settings.influx, folder, letters)
    return SqliteTelemetry(
        folder,
        clock=clock,
        interval_ms=settings.thin_ms,
        max_rows_per_s=settings.max_rows_per_s,
        keep_days=settings.keep_days,
    )


def open_reader(settings: TelemetrySettings, folder: Path) -> TelemetryReader:
    """The store to read from, beside whoever writes it. Raises `SettingsError`."""
    if settings.store == "sqlite":
        return SqliteReader(folder)
    _demand_client()
    from ingest.telemetry import influx

    try:
        return influx.InfluxReader(_address(settings.influx))
    except influx.TokenUnreadable as error:
        raise SettingsError(f"telemetry.influx.token_file: {error}") from None


def _demand_client() -> None:
    if find_spec("influxdb_client") is None:
        raise SettingsError(
            "telemetry.store: influx needs the package influxdb-client; install gridwarden[stream]"
        )


def _address(settings: InfluxSettings) -> Address:
    from ingest.telemetry import influx

    return influx.Address(
        url=settings.url,
        bucket=settings.bucket,
        org=settings.org,
        token_file=settings.token_file,
        ca_file=settings.ca_file,
        version=settings.version,
        gzip=settings.gzip,
        timeout_s=settings.timeout_s,
    )


def _influx(settings: InfluxSettings, folder: Path, letters: Letters) -> TelemetryStore:
    _demand_client()
    from ingest.telemetry import influx

    def refused(found: Sequence[influx.Refusal], heard_ms: int) -> None:
        letters(
            [
                (SOURCE, one.content, Reject(reason=Reason.STORE_REFUSED, detail=one.detail))
                for one in found
            ],
            heard_ms,
        )

    try:
        return influx.InfluxTelemetry(
            folder / "influx",
            _address(settings),
            refused=refused,
            jitter=SystemRandom().random,
            spill_bytes=settings.spill_bytes,
            settle_s=settings.settle_s,
        )
    except influx.TokenUnreadable as error:
        raise SettingsError(f"telemetry.influx.token_file: {error}") from None
