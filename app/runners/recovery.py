"""From a log and its last snapshot to a running engine.

The snapshot says with which rules and registry it was made; the log's contents have them. What
came after the snapshot is read on from the log, and outputs repeat with the same ids.
"""

from __future__ import annotations

from typing import Protocol

from app.content import unpack_registry, unpack_rules, unpack_settings
from app.engine import Engine, Sources, read_head
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
from ingest.log import SqliteLog
from rules.ruleset import RuleSet


class Holder(Protocol):
    """Who has the bytes behind a hash: a log, or the follower of a topic."""

    def get_content(self, content_hash: str) -> bytes: ...


class Contents:
    """Rule sets and registries by content hash, from the log; each is built once."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._rules: dict[str, RuleSet] = {}
        self._registries: dict[str, Registry] = {}

    def rules(self, content: str) -> RuleSet:
        if content not in self._rules:
            self._rules[content] = unpack_rules(self._holder.get_content(content))
        return self._rules[content]

    def registry(self, content: str) -> Registry:
        if content not in self._registries:
            self._registries[content] = unpack_registry(self._holder.get_content(content))
        return self._registries[content]

    def settings(self, content: str) -> AdmissionSettings:
        return unpack_settings(self._holder.get_content(content))

    def remember(self, content: str, built: RuleSet | Registry) -> None:
        """What the caller has built of this content already."""
        if isinstance(built, RuleSet):
            self._rules[content] = built
        else:
            self._registries[content] = built


def recover(log: SqliteLog, contents: Contents, settings: AdmissionSettings) -> Engine:
    """An engine at the last snapshot's position, or a fresh one at 0.

    settings: in force until the log says otherwise.
    The caller then feeds `log.read(engine.position + 1)`: nothing is decided here.
    """
    sources = Sources(rules=contents.rules, registry=contents.registry, settings=contents.settings)
    snapshot = log.load_snapshot()
    if snapshot is None:
        return Engine(Registry(), RuleSet.empty(), sources=sources, settings=settings)
    head = read_head(snapshot.chunks)
    engine = Engine(
        contents.registry(head.registry) if head.registry else Registry(),
        contents.rules(head.rules) if head.rules else RuleSet.empty(),
        sources=sources,
        settings=contents.settings(head.settings) if head.settings else settings,
    )
    engine.restore(snapshot.chunks)
    return engine
