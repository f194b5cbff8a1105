"""Rules, registry and engine settings into the log, when they are not what the log says last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from app.content import (
    ContentError,
    content_hash,
    pack_registry,
    pack_rules,
    pack_settings,
    shipped_rules,
    unpack_rules,
)
from app.contents import Contents
from app.settings import EngineSettings, Settings
from contracts.alert_data import ModelRef
from contracts.messages import Installed
from ingest.acceptor import Acceptor
from ingest.admission import AdmissionSettings
from ingest.log import SqliteLog
from ingest.registry import Finding, load_with_findings
from rules import RulesInvalid

_installed_decoder = msgspec.json.Decoder(Installed)


def install(
    acceptor: Acceptor, log: SqliteLog, contents: Contents, settings: Settings, now_ms: int
) -> list[Finding]:
    """Check first, then write: a bad file stops the start and the log keeps what it has.

    Bad rules stop only a first start; later, those in force stay, as while running.
    Gives what is wrong with rows of a registry that is installed now, which doesn't stop it.
    Raises `ContentError`, `rules.RulesInvalid`, `RegistryError`.
    """
    in_force = _in_force(log)
    _install_rules(acceptor, contents, settings, in_force, now_ms)
    content = pack_settings(admission_settings(settings.engine))
    if in_force.get("settings") != content_hash(content):
        _append(acceptor, "settings", content, now_ms)
    if settings.registry is None:
        return []
    content = pack_registry(settings.registry)
    if in_force.get("registry") == content_hash(content):
        return []
    registry, findings = load_with_findings(settings.registry)
    contents.remember(content_hash(content), registry)
    _append(acceptor, "registry", content, now_ms)
    return findings


def install_models(
    acceptor: Acceptor, log: SqliteLog, models: Sequence[ModelRef], now_ms: int
) -> None:
    """Name what judges for each detector from here on, where the log says another or nothing."""
    in_force = {
        told.name: (told.hash, told.threshold) for told in _told(log) if told.what == "model"
    }
    for model in models:
        if in_force.get(model.detector) != (model.hash, model.threshold):
            acceptor.append_model(
                Installed(
                    what="model",
                    hash=model.hash,
                    active_ms=now_ms,
                    name=model.detector,
                    threshold=model.threshold,
                )
            )


def rules_folder(settings: Settings) -> Path:
    return settings.rules or shipped_rules()


def _install_rules(
    acceptor: Acceptor,
    contents: Contents,
    settings: Settings,
    in_force: dict[str, str],
    now_ms: int,
) -> None:
    """At once when there are none, else at an event time that is to come."""
    try:
        content = pack_rules(rules_folder(settings))
        name = content_hash(content)
        if in_force.get("rules") == name:
            return
        contents.remember(name, unpack_rules(content))
    except (ContentError, RulesInvalid, OSError):
        if "rules" not in in_force:
            raise
        return  # The running server looks again, refuses it and says so.
    if "rules" in in_force:
        acceptor.append_rules(name, content, settings.engine.activate_after_ms)
    else:
        _append(acceptor, "rules", content, now_ms)


def admission_settings(engine: EngineSettings) -> AdmissionSettings:
    return AdmissionSettings(
        slack_ms=engine.slack_ms, idle_ms=engine.idle_ms, future_ms=engine.future_ms
    )


def _append(acceptor: Acceptor, what: str, content: bytes, now_ms: int) -> None:
    installed = msgspec.convert(
        {"what": what, "hash": content_hash(content), "active_ms": now_ms}, Installed
    )
    acceptor.append_installed(installed, content)


def _in_force(log: SqliteLog) -> dict[str, str]:
    return {installed.what: installed.hash for installed in _told(log)}


def _told(log: SqliteLog) -> Iterator[Installed]:
    for record in log.installed_before(log.last_position + 1):
        yield _installed_decoder.decode(record.payload)
