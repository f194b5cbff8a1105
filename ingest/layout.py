"""Where ingest's stores lie in the data folder."""

from __future__ import annotations

from pathlib import Path


def log_folder(data: Path) -> Path:
    return data / "log"


def ledger_file(data: Path) -> Path:
    return data / "ledger.db"


def quarantine_file(data: Path) -> Path:
    return data / "quarantine.db"


def telemetry_folder(data: Path) -> Path:
    return data / "telemetry"
