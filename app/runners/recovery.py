"""From a log and its last snapshot to a running engine.

The snapshot says with which rules and registry it was made; the log's contents have them. What
came after the snapshot is read on from the log, and outputs repeat with the same ids.
"""

from __future__ import annotations

from app.contents import Contents
from app.engine import Engine, Sources, read_head
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
from ingest.log import SqliteLog
from rules.ruleset import RuleSet


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
