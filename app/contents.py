"""What stands behind the hashes that INSTALLED records name, built once."""

from __future__ import annotations

from typing import Protocol

from app.content import unpack_registry, unpack_rules, unpack_settings
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
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
