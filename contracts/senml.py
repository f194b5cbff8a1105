"""SenML JSON (RFC 8428, updated by RFC 9100) to columns.

A pack is resolved as a whole: base fields (`bn` `bt` `bu` `bv` `bs` `bver`) hold for their own
record and all records after it until they are given again. Times below 2^28 s are relative to
`now_ms`. Unit and name decide the quantity; values become the canonical unit.

Our convention for names, for the RFC leaves it open: the resolved name (`bn` + `n`) is cut at
":" and "/"; the last part is the quantity, the part before it the device::

    urn:dev:ow:10e2073a01080063:voltage    device 10e2073a01080063, quantity voltage
    fw-0012/static_pressure                device fw-0012, quantity static_pressure
    static_pressure                        the device that the caller names (from the topic)

`vb` gives 0 or 1 to states and signals. `vs`, `vd` and sums carry no reading of ours: each is a
reject. A fault in a base field spoils all that follows, so it refuses the whole pack.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from contracts.batch import Flag, ReadingBatch
from contracts.quantities import FAMILY_INDEX, QUANTITIES, QUANTITY_INDEX, Kind
from contracts.rejects import Reason, Refused, Reject
from contracts.telemetry import FAULTS, FIRST_MS, LAST_MS, MAX_BYTES, shown
from contracts.topics import ID
from contracts.units import convert

VERSION = 10
"""The highest `bver` that is understood; the default of the RFC."""

_RELATIVE_BELOW = 2**28  # seconds; RFC 8428 section 4.5.3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*")  # RFC 8428 section 4.5.1
_PARTS = re.compile(r"[:/]")
_BASE = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
_VALUES = ("v", "vs", "vb", "vd")

_pack: Final = msgspec.json.Decoder(list[dict[str, Any]])
_raw_pack: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])

FamilyOf = Callable[[str], str | None]
"""Device id -> its family, None when it isn't known."""


class SenmlRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record as it stands in the JSON, for the schema. A pack is an array of these."""

    bn: str | msgspec.UnsetType = msgspec.UNSET
    bt: float | msgspec.UnsetType = msgspec.UNSET
    bu: str | msgspec.UnsetType = msgspec.UNSET
    bv: float | msgspec.UnsetType = msgspec.UNSET
    bs: float | msgspec.UnsetType = msgspec.UNSET
    bver: int | msgspec.UnsetType = msgspec.UNSET
    n: str | msgspec.UnsetType = msgspec.UNSET
    u: str | msgspec.UnsetType = msgspec.UNSET
    v: float | msgspec.UnsetType = msgspec.UNSET
    vs: str | msgspec.UnsetType = msgspec.UNSET
    vb: bool | msgspec.UnsetType = msgspec.UNSET
    vd: str | msgspec.UnsetType = msgspec.UNSET
    s: float | msgspec.UnsetType = msgspec.UNSET
    t: float | msgspec.UnsetType = msgspec.UNSET
    ut: float | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class _Base:
    """The base fields in force."""

    name: str = ""
    time: float = 0.0
    unit: str = ""
    value: float | None = None
    version: int | None = None


_Row = tuple[str, str, str, int, float, int]


def is_senml(payload: bytes) -> bool:
    """Whether a payload looks like a SenML pack and not like native telemetry.

    Both may be arrays: a native message has a `deviceId`, a SenML record never has.
    """
    if not payload.lstrip().startswith(b"["):
        return False
    try:
        first = next(iter(_sniff.decode(payload)), None)
    except FAULTS:
        return False
    return first is not None and not first.device_id and bool(first.n or first.bn)


class _Sniff(msgspec.Struct, frozen=True):
    device_id: msgspec.Raw = msgspec.field(name="deviceId", default_factory=msgspec.Raw)
    n: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    bn: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


_sniff: Final = msgspec.json.Decoder(list[_Sniff])


def decode(
    payload: bytes,
    *,
    now_ms: int,
    family: str = "",
    device: str = "",
    family_of: FamilyOf | None = None,
) -> tuple[ReadingBatch, list[Reject]]:
    """Resolve and decode one pack. Raises `Refused` when the whole pack is bad.

    now_ms: what relative times count from. family: of devices that `family_of` doesn't know (from
    the topic). device: whose readings those are whose name holds no device. `Reject.row` is the
    index of the record.
    """
    if len(payload) > MAX_BYTES:
        raise Refused(Reason.TOO_LARGE, field="payload", detail=f"{len(payload)} bytes")
    base = _Base()
    rows: list[_Row] = []
    rejects: list[Reject] = []
    for at, record in enumerate(_records(payload)):
        base = _rebased(base, record, at)
        if record.keys() <= _BASE:
            continue
        try:
            row = _reading(base, record, now_ms=now_ms, device=device)
            rows.append(_with_family(row, family, family_of))
        except Refused as refused:
            rejects.append(msgspec.structs.replace(refused.reject, row=at))
            continue
        if "s" in record:
            reject = Reject(reason=Reason.BAD_FIELD, field="s", detail="sums aren't taken", row=at)
            rejects.append(reject)
    return ReadingBatch.of(rows), rejects


def _records(payload: bytes) -> list[dict[str, Any]]:
    try:
        return _pack.decode(payload)
    except FAULTS as error:
        try:
            # One number that no float can hold must not cost the other records.
            return [
                {label: _unbounded(raw) for label, raw in record.items()}
                for record in _raw_pack.decode(payload)
            ]
        except FAULTS:
            raise Refused(Reason.BAD_JSON, detail=str(error)[:120]) from None


def _unbounded(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:  # "Number out of range": the only one without a type.
        return math.inf


def _rebased(base: _Base, record: dict[str, Any], at: int) -> _Base:
    """The base fields in force from this record on."""
    for label in record:
        if label.endswith("_"):
            # RFC 8428 section 4.4: such a field must be understood or the pack be refused.
            raise Refused(Reason.BAD_VERSION, field=shown(label), detail=f"record {at}")
    if record.keys().isdisjoint(_BASE):
        return base
    try:
        version = _version(base, record)
        if "bs" in record:
            _finite(record["bs"], "bs")
        return replace(
            base,
            name=_string(record["bn"], "bn") if "bn" in record else base.name,
            time=_finite(record["bt"], "bt") if "bt" in record else base.time,
            unit=_string(record["bu"], "bu") if "bu" in record else base.unit,
            value=_finite(record["bv"], "bv") if "bv" in record else base.value,
            version=version,
        )
    except Refused as refused:
        found = refused.reject
        detail = f"record {at}: {found.detail}"
        raise Refused(found.reason, field=found.field, detail=detail) from None


def _version(base: _Base, record: dict[str, Any]) -> int | None:
    if "bver" not in record:
        return base.version
    version = record["bver"]
    if type(version) is not int or version < 1:
        raise Refused(Reason.BAD_FIELD, field="bver", detail=ascii(version)[:80])
    if version > VERSION:
        raise Refused(Reason.BAD_VERSION, field="bver", detail=ascii(version)[:80])
    if base.version is not None and version != base.version:
        detail = f"{version} after {base.version}"
        raise Refused(Reason.BAD_VERSION, field="bver", detail=detail)
    return version


def _reading(base: _Base, record: dict[str, Any], *, now_ms: int, device: str) -> _Row:
    name = base.name + _string(record.get("n", ""), "n")
    if not _NAME.fullmatch(name):
        raise Refused(Reason.BAD_FIELD, field="n", detail=ascii(name)[:80])
    *before, quantity = _PARTS.split(name)
    owner = before[-1] if before else device
    if not ID.fullmatch(owner):
        raise Refused(Reason.BAD_FIELD, field="n", detail=f"no device in {name[:80]}")
    if quantity not in QUANTITY_INDEX:
        raise Refused(Reason.UNKNOWN_QUANTITY, field=shown(quantity))
    kind = QUANTITIES[QUANTITY_INDEX[quantity]].kind
    value = _value(base, record, quantity, kind)
    ts_ms = _time(base, record, now_ms)
    alarm = kind is Kind.SIGNAL and value != 0
    return owner, "", quantity, ts_ms, value, int(Flag.ALARM) if alarm else 0


def _value(base: _Base, record: dict[str, Any], quantity: str, kind: Kind) -> float:
    given = [label for label in _VALUES if label in record]
    if len(given) > 1:
        raise Refused(Reason.BAD_FIELD, field=given[1], detail=f"beside {given[0]}")
    if given == ["vb"]:
        if type(record["vb"]) is not bool or kind not in (Kind.STATE, Kind.SIGNAL):
            raise Refused(Reason.BAD_FIELD, field="vb", detail=f"for {quantity}")
        return float(record["vb"])
    if given and given != ["v"]:
        raise Refused(Reason.BAD_FIELD, field=given[0], detail=f"{quantity} is a number")
    if not given and base.value is None:
        label = "s" if "s" in record else "v"
        detail = "sums aren't taken" if label == "s" else "absent"
        raise Refused(Reason.BAD_FIELD, field=label, detail=detail)
    value = (base.value or 0.0) + (_finite(record["v"], "v") if given else 0.0)
    converted = convert(value, _string(record.get("u", base.unit), "u"), quantity)
    if not math.isfinite(converted):
        raise Refused(Reason.NON_FINITE, field="v", detail=quantity)
    return converted


def _time(base: _Base, record: dict[str, Any], now_ms: int) -> int:
    seconds = base.time + (_finite(record["t"], "t") if "t" in record else 0.0)
    if abs(seconds) > LAST_MS / 1000:
        raise Refused(Reason.BAD_FIELD, field="t", detail=f"{seconds} s")
    ms = round(seconds * 1000)
    ts_ms = now_ms + ms if seconds < _RELATIVE_BELOW else ms
    if not FIRST_MS <= ts_ms <= LAST_MS:
        raise Refused(Reason.BAD_FIELD, field="t", detail=f"{seconds} s")
    return ts_ms


def _with_family(row: _Row, family: str, family_of: FamilyOf | None) -> _Row:
    known = family_of(row[0]) if family_of is not None else None
    known = known or family
    if known not in FAMILY_INDEX:
        raise Refused(Reason.UNKNOWN_FAMILY, field="family", detail=f"{known[:40]!a} of {row[0]}")
    return (row[0], known, *row[2:])


def _finite(value: object, field: str) -> float:
    """A JSON number as float. Raises `Refused`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(Reason.BAD_FIELD, field=field, detail="no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Refused(Reason.NON_FINITE, field=field)
    return number


def _string(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise Refused(Reason.BAD_FIELD, field=field, detail="no text")
    return value
