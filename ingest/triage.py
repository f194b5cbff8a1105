"""What a message is, from its topic and as few of its bytes as that takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec

from contracts import pack, topics
from contracts.detector import INNER_PREFIX
from contracts.log import RecordKind
from contracts.messages import GatewayStatus
from contracts.pack import Evicted, PackHeader
from contracts.quantities import SAFETY
from contracts.rejects import Reason, Refused

MAX_FOREIGN_BYTES = 1 << 20
MAX_STATUS_BYTES = 64 << 10
MAX_TOPIC_BYTES = 512
KEPT_TOPICS = 50_000
"""How many foreign topics are remembered as good; the least recently used go first."""


@dataclass(frozen=True, slots=True)
class Triaged:
    """kind, source: as they go into the log.

    header, readings, evicted: of a pack that speaks for the gateway of its topic; a pack without
    `header` is logged for the sake of its safety signals, and counts for nobody's sequences.
    """

    kind: RecordKind
    source: str
    header: PackHeader | None = None
    readings: int = 0
    evicted: tuple[Evicted, ...] = ()
    status: GatewayStatus | None = None


_raw = msgspec.json.Decoder(msgspec.Raw)
_status = msgspec.json.Decoder(GatewayStatus)


OUTSIDE = "outside"
"""The source of a pack that claims to be of an inner gateway and may save lives: nobody's."""


def triage(topic: str, payload: bytes, *, inner: bool = False) -> Triaged:
    """Raises `Refused` for what must not enter the log. inner: it comes from a part of the server,
    which alone may speak as an inner gateway."""
    if topic.startswith("gw/v1/"):
        gateway = topics.gateway_of(topic)
        if gateway.startswith(INNER_PREFIX) and not inner:
            return _pretended(gateway, topic, payload)
        if topic.endswith(("/pack", "/tracks")):
            return _pack(gateway, payload)
        if topic.endswith("/state"):
            return _state(gateway, payload)
        raise Refused(Reason.BAD_TOPIC, field="topic", detail=topic[:120])
    found = _foreign(topic)
    _check_json(payload, MAX_FOREIGN_BYTES)
    return found


def _pretended(gateway: str, topic: str, payload: bytes) -> Triaged:
    """Somebody outside in the name of a detector: only a safety signal gets in, unverified."""
    if topic.endswith("/pack") and may_save_lives(payload):
        return Triaged(RecordKind.PACK, OUTSIDE)
    detail = f"{gateway} is part of the server, nobody outside may speak for it"
    raise Refused(Reason.WRONG_GATEWAY, field="gateway", detail=detail)


def triage_record(kind: RecordKind, source: str, payload: bytes) -> Triaged:
    """The same for a record that somebody else has put into a log. Raises `Refused`.

    What a foreign device's message says is judged row by row later, and may be anything.
    """
    if kind is RecordKind.PACK:
        return _pack(_named(source), payload)
    if kind is RecordKind.STATUS:
        return _state(_named(source), payload)
    if kind is RecordKind.FOREIGN and source:
        return _foreign(source)
    return Triaged(kind, source)


def _named(gateway: str) -> str:
    if not topics.ID.fullmatch(gateway):
        raise Refused(Reason.BAD_TOPIC, field="gateway", detail=ascii(gateway)[:120])
    return gateway


@lru_cache(KEPT_TOPICS)
def _foreign(topic: str) -> Triaged:
    """What any message on a foreign device's topic is. Only good topics are kept."""
    topics.parse_foreign(topic)
    if len(topic) > MAX_TOPIC_BYTES:
        raise Refused(Reason.BAD_TOPIC, field="topic", detail=f"{len(topic)} characters")
    return Triaged(RecordKind.FOREIGN, topic)


def _pack(gateway: str, payload: bytes) -> Triaged:
    header, readings = pack.peek_header(payload)
    if header.gateway != gateway:
        if not may_save_lives(payload):
            detail = f"pack of {ascii(header.gateway)[:80]} on the topic of {gateway}"
            raise Refused(Reason.WRONG_GATEWAY, field="gateway", detail=detail)
        return Triaged(RecordKind.PACK, gateway)
    evicted = pack.decode_raw(payload).evicted if header.tombstone else ()
    return Triaged(RecordKind.PACK, gateway, header, readings, evicted)


def may_save_lives(payload: bytes) -> bool:
    """Whether a pack holds a safety signal: those are never turned away, whoever sends them.

    Raises `Refused` when it can't be read. Admission judges the single rows.
    """
    raw = pack.decode_raw(payload)
    if raw.header.alarm:
        return True
    return len(raw) > 0 and not SAFETY.isdisjoint(pack.split_quantities(raw.quantities_raw))


def _state(gateway: str, payload: bytes) -> Triaged:
    if len(payload) > MAX_STATUS_BYTES:
        raise Refused(Reason.TOO_LARGE, field="status", detail=f"{len(payload)} bytes")
    try:
        status = _status.decode(payload)
    except msgspec.ValidationError as error:
        raise Refused(Reason.BAD_FIELD, field="status", detail=str(error)[:200]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(Reason.BAD_JSON, field="status", detail=str(error)[:200]) from None
    if status.gateway != gateway:
        detail = f"status of {status.gateway} on the topic of {gateway}"
        raise Refused(Reason.WRONG_GATEWAY, field="gateway", detail=detail)
    return Triaged(RecordKind.STATUS, gateway, status=status)


def _check_json(payload: bytes, limit: int) -> None:
    if len(payload) > limit:
        raise Refused(Reason.TOO_LARGE, field="payload", detail=f"{len(payload)} bytes")
    try:
        _raw.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(Reason.BAD_JSON, field="payload", detail=str(error)[:200]) from None
