"""From a log and its last snapshot to a running engine.

The snapshot says with which rules and registry it was made; the log's contents have them. What
came after the snapshot is read on from the log, and outputs repeat with the same ids.
"""

from __future__ import annotations

from app.content import unpack_registry, unpack_rules
from app.engine import Engine, Sources, read_head
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
from ingest.log import SqliteLog
from rules.ruleset import RuleSet


def sources(log: SqliteLog) -> Sources:
    """Content of INSTALLED records, from the log itself."""
    return Sources(
        rules=lambda content: unpack_rules(log.get_content(content)),
        registry=lambda content: unpack_registry(log.get_content(content)),
    )


def recover(log: SqliteLog, settings: AdmissionSettings) -> Engine:
    """An engine at the last snapshot's position, or a fresh one at 0.

    The caller then feeds `log.read(engine.position + 1)`: nothing is decided here.
    """
    contents = sources(log)
    snapshot = log.load_snapshot()
    if snapshot is None:
        return Engine(Registry(), RuleSet.empty(), sources=contents, settings=settings)
    head = read_head(snapshot.chunks)
    engine = Engine(
        contents.registry(head.registry) if head.registry else Registry(),
        contents.rules(head.rules) if head.rules else RuleSet.empty(),
        sources=contents,
        settings=settings,
    )
    engine.restore(snapshot.chunks)
    return engine
