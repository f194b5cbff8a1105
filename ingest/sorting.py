"""What acceptance makes of one message, whichever log it goes into. Pure.

The embedded acceptor, the reader of its log at a start, and a Kafka partition do the same: see what
a message is, mind the bound on gateways, drop what the ledger has, note what is new.
"""

from __future__ import annotations

from contracts.log import LogRecord
from contracts.rejects import Reason, Refused
from ingest.ledger import Ledger
from ingest.triage import Triaged, may_save_lives, triage_record


def sort_record(ledger: Ledger, record: LogRecord) -> Triaged:
    """What a record of a log is. Raises `Refused` for what must not count."""
    found = triage_record(record.kind, record.source, record.payload)
    return with_room(ledger, found, record.payload)


def with_room(ledger: Ledger, found: Triaged, payload: bytes) -> Triaged:
    """Beyond the bound on gateways only safety signals get in, unconfirmed. Raises `Refused`."""
    gateway = found.header.gateway if found.header else None
    if found.status is not None:
        gateway = found.status.gateway
    if gateway is None or ledger.has_room(gateway):
        return found
    if found.header is None or not may_save_lives(payload):
        raise Refused(Reason.TOO_LARGE, field="gateway", detail="too many gateways")
    return Triaged(found.kind, found.source)


def is_repeated(ledger: Ledger, found: Triaged) -> bool:
    """Whether the log has this very pack."""
    header = found.header
    return header is not None and ledger.has(header.gateway, header.boot, header.seq)


def note(ledger: Ledger, found: Triaged, accepted_ms: int) -> None:
    """A message that `is_repeated` doesn't know is in the log now."""
    if found.header is not None:
        ledger.note_pack(found.header, found.readings, accepted_ms, found.evicted)
    elif found.status is not None:
        ledger.note_status(found.status, accepted_ms)


def note_record(ledger: Ledger, record: LogRecord) -> None:
    """Note a record of the log as acceptance did when it was written."""
    try:
        found = sort_record(ledger, record)
    except Refused:
        # Only what this version takes was written; an older version may have taken more.
        return
    if not is_repeated(ledger, found):
        note(ledger, found, record.accepted_ms)
