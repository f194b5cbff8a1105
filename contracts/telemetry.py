"""Native JSON telemetry: one message object, or an array of them, to columns and back.

    {"deviceId": "fw-0012", "family": "firewater", "ts": "2026-03-01T08:00:00+08:00", "seq": 17,
     "metrics": {"static_pressure": 0.31, "dynamic_pressure": null}, "quality": "good",
     "boot": "9f2c", "historical": false, "fw": "1.4.2", "battery": 3.5, "rssi": -71}

`ts` is RFC 3339 with an offset, or unix milliseconds. A metric is a canonical quantity and a
number in its canonical unit; null says that the sensor sent no value. true and false are taken
for states and signals. `battery` and `rssi` become readings of the device. `test` and `alarm`
are ours: they mark every reading of the message with `Flag.TEST` or `Flag.ALARM`; a signal that
isn't 0 has `Flag.ALARM` without being told.

A bad metric is a `Reject` of its own and never spoils the others: a fire must ring although the
battery level beside it is nonsense. Without a usable deviceId, family or ts there is no reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, ReadingBatch
from contracts.quantities import FAMILIES, FAMILY_INDEX, QUANTITIES, QUANTITY_INDEX, Kind
from contracts.rejects import Reason, Refused, Reject
from contracts.topics import ID

MAX_BYTES = 1 << 20
"""Bound on one payload: what a gateway has more to say it says in several (a proposal)."""

FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999: beyond them a time can't be written as RFC 3339."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

_DeviceId = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^[A-Za-z0-9_-]{1,64}$"})]
_Family = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(FAMILIES)})]
Time = Annotated[datetime, msgspec.Meta(tz=True)] | int | float


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message. The patterns of the texts are checked by `decode`, once a device."""

    device_id: _DeviceId = msgspec.field(name="deviceId")
    family: _Family
    ts: Time
    metrics: dict[str, float | bool | None]
    quality: Literal["good", "bad", "stale"] = "good"
    historical: bool = False
    test: bool = False
    alarm: bool = False
    battery: float | None = None
    rssi: float | None = None
    seq: Annotated[int, msgspec.Meta(ge=0)] | None = None
    boot: str | None = None
    fw: str | None = None


class _Loose(msgspec.Struct, frozen=True):
    """The same message with every field undecoded, to find out which one is bad."""

    device_id: msgspec.Raw = msgspec.field(name="deviceId", default_factory=msgspec.Raw)
    family: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    ts: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    metrics: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    quality: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    historical: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    test: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    alarm: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    battery: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    rssi: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


_Texts = dict[str, msgspec.Raw]
_typed: Final = msgspec.json.Decoder(Telemetry | list[Telemetry])
_split: Final = msgspec.json.Decoder(list[msgspec.Raw])
_loose: Final = msgspec.json.Decoder(_Loose)
_time: Final = msgspec.json.Decoder(Time)
_texts: Final = msgspec.json.Decoder(_Texts)
_number: Final = msgspec.json.Decoder(float | bool | None)
_level: Final = msgspec.json.Decoder(float | None)
_quality: Final = msgspec.json.Decoder(Literal["good", "bad", "stale"])
_text: Final = msgspec.json.Decoder(str)
_bool: Final = msgspec.json.Decoder(bool)
FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on hostile bytes."""

_QUALITY = {"good": 0, "bad": int(Flag.BAD), "stale": int(Flag.STALE)}
_BOOLEAN = [q.kind in (Kind.STATE, Kind.SIGNAL) for q in QUANTITIES]
_SIGNAL = np.array([q.kind is Kind.SIGNAL for q in QUANTITIES])
_NAMES = tuple(q.name for q in QUANTITIES)
_BATTERY, _RSSI = QUANTITY_INDEX["battery"], QUANTITY_INDEX["rssi"]

_BAD = object()

Rejects = list[tuple[int, Reject]]
"""(index of the payload, why)."""


class _Columns:
    """Columns under construction over many messages."""

    def __init__(self) -> None:
        self.devices: dict[tuple[str, str], int] = {}
        self.device: list[int] = []
        self.quantity: list[int] = []
        self.ts: list[int] = []
        self.value: list[float] = []
        self.flags: list[int] = []
        self.origin: list[int] = []

    def add(self, message: Telemetry, origin: int, at: int, rejects: Rejects) -> None:
        """The readings of one message. Raises `Refused` when it has no device, family or time."""
        ts = time_ms(message.ts)
        row = self._device(message.device_id, message.family)
        flags = _QUALITY[message.quality]
        if message.historical:
            flags |= Flag.HISTORICAL
        if message.test:
            flags |= Flag.TEST
        if message.alarm:
            flags |= Flag.ALARM
        for name, value in message.metrics.items():
            quantity = QUANTITY_INDEX.get(name, -1)
            if quantity < 0:
                rejects.append((origin, _unknown(name, at)))
            elif type(value) is bool and not _BOOLEAN[quantity]:
                rejects.append((origin, _not_boolean(name, at)))
            else:
                number = np.nan if value is None else float(value)
                self._row(row, quantity, ts, number, flags, origin)
        if message.battery is not None:
            self._row(row, _BATTERY, ts, message.battery, flags, origin)
        if message.rssi is not None:
            self._row(row, _RSSI, ts, message.rssi, flags, origin)

    def _row(
        self, device: int, quantity: int, ts_ms: int, value: float, flags: int, origin: int
    ) -> None:
        self.device.append(device)
        self.quantity.append(quantity)
        self.ts.append(ts_ms)
        self.value.append(value)
        self.flags.append(flags)
        self.origin.append(origin)

    def _device(self, device: str, family: str) -> int:
        # Checked when first seen: texts cost more than the rest of a message.
        row = self.devices.get((device, family))
        if row is None:
            if not ID.fullmatch(device):
                raise Refused(Reason.BAD_FIELD, field="deviceId", detail=ascii(device)[:80])
            if family not in FAMILY_INDEX:
                raise Refused(Reason.UNKNOWN_FAMILY, field="family", detail=ascii(family)[:80])
            row = self.devices[device, family] = len(self.devices)
        return row

    def batch(self) -> ReadingBatch:
        quantity = np.array(self.quantity, np.int16)
        value = np.array(self.value, np.float64)
        flags = np.array(self.flags, np.uint16)
        alarm = _SIGNAL[quantity] & (value != 0) & ~np.isnan(value)
        flags[alarm] |= np.uint16(Flag.ALARM)
        used = np.bincount(quantity, minlength=len(_NAMES)) > 0
        place = np.cumsum(used, dtype=np.int16) - np.int16(1)
        return ReadingBatch(
            tuple(device for device, _ in self.devices),
            tuple(family for _, family in self.devices),
            tuple(_NAMES[i] for i in np.flatnonzero(used)),
            np.array(self.device, np.int32),
            place[quantity],
            np.array(self.ts, np.int64),
            value,
            flags,
        )


def decode_many(payloads: Sequence[bytes]) -> tuple[ReadingBatch, NDArray[np.int32], Rejects]:
    """Decode many payloads into one batch; never raises on their content.

    Returns the batch (rows in the order of the payloads), int32 `origin` (row -> index of its
    payload) and the rejects with the index of their payload. A device that comes with two
    families has two entries in the batch's dictionary.
    """
    columns, rejects = _Columns(), Rejects()
    for origin, payload in enumerate(payloads):
        try:
            _payload(columns, payload, origin, rejects)
        except Refused as refused:
            rejects.append((origin, refused.reject))
    return columns.batch(), np.array(columns.origin, np.int32), rejects


def decode(payload: bytes) -> tuple[ReadingBatch, list[Reject]]:
    """Decode one payload. Raises `Refused` when it gives no reading at all because it is bad.

    `Reject.row` is the index of the message in the array, 0 for a single one.
    """
    columns, rejects = _Columns(), Rejects()
    _payload(columns, payload, 0, rejects)
    return columns.batch(), [reject for _, reject in rejects]


def _payload(columns: _Columns, payload: bytes, origin: int, rejects: Rejects) -> None:
    if len(payload) > MAX_BYTES:
        raise Refused(Reason.TOO_LARGE, field="payload", detail=f"{len(payload)} bytes")
    try:
        message = _typed.decode(payload)
    except FAULTS:
        _piecewise(columns, payload, origin, rejects)
        return
    if not isinstance(message, list):
        columns.add(message, origin, 0, rejects)
        return
    for at, one in enumerate(message):
        try:
            columns.add(one, origin, at, rejects)
        except Refused as refused:
            rejects.append((origin, _at(refused.reject, at)))


def _piecewise(columns: _Columns, payload: bytes, origin: int, rejects: Rejects) -> None:
    """Decode a payload that has a fault somewhere, message by message and field by field."""
    if not payload.lstrip().startswith(b"["):
        columns.add(_salvage(payload, origin, 0, rejects), origin, 0, rejects)
        return
    try:
        pieces = _split.decode(payload)
    except FAULTS as error:
        raise Refused(Reason.BAD_JSON, detail=str(error)[:120]) from None
    for at, piece in enumerate(pieces):
        try:
            columns.add(_salvage(piece, origin, at, rejects), origin, at, rejects)
        except Refused as refused:
            rejects.append((origin, _at(refused.reject, at)))


def _salvage(piece: bytes | msgspec.Raw, origin: int, at: int, rejects: Rejects) -> Telemetry:
    """The good fields of a message. A quality that can't be read counts as bad, and is told."""
    try:
        loose = _loose.decode(piece)
    except FAULTS as error:
        raise Refused(Reason.BAD_JSON, detail=str(error)[:120]) from None
    told = _Told(origin, at, rejects)
    return Telemetry(
        device_id=_field(_text, loose.device_id, "deviceId"),
        family=_field(_text, loose.family, "family"),
        ts=_field(_time, loose.ts, "ts"),
        metrics=told.metrics(_field(_texts, loose.metrics, "metrics")),
        quality=told.get(_quality, loose.quality, "quality", absent="good", bad="bad"),
        historical=told.get(_bool, loose.historical, "historical", absent=False, bad=False),
        test=told.get(_bool, loose.test, "test", absent=False, bad=False),
        alarm=told.get(_bool, loose.alarm, "alarm", absent=False, bad=False),
        battery=told.get(_level, loose.battery, "battery", absent=None, bad=None),
        rssi=told.get(_level, loose.rssi, "rssi", absent=None, bad=None),
    )


class _Told(NamedTuple):
    """Reads fields of a message whose fault is a reject of its own."""

    origin: int
    at: int
    rejects: Rejects

    def get(
        self, decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw, name: str, absent: Any, bad: Any
    ) -> Any:
        if not raw:
            return absent
        try:
            return _field(decoder, raw, name)
        except Refused as refused:
            self.rejects.append((self.origin, _at(refused.reject, self.at)))
            return bad

    def metrics(self, texts: _Texts) -> dict[str, float | bool | None]:
        metrics: dict[str, float | bool | None] = {}
        for name, raw in texts.items():
            if name not in QUANTITY_INDEX:
                self.rejects.append((self.origin, _unknown(name, self.at)))
                continue
            value = self.get(_number, raw, f"metrics.{name}", absent=None, bad=_BAD)
            if value is not _BAD:
                metrics[name] = value
        return metrics


def _field(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw, name: str) -> Any:
    if not raw:
        raise Refused(Reason.BAD_FIELD, field=name, detail="absent")
    try:
        return decoder.decode(raw)
    except FAULTS as error:
        text = str(error)
        reason = Reason.NON_FINITE if "out of range" in text else Reason.BAD_FIELD
        raise Refused(reason, field=name, detail=text[:120]) from None


def time_ms(ts: datetime | int | float) -> int:
    """Unix milliseconds of a message's `ts`. Raises `Refused` outside the years 1 to 9999."""
    if isinstance(ts, datetime):
        try:
            return (ts - _EPOCH) // _MS
        except OverflowError as error:
            raise Refused(Reason.BAD_FIELD, field="ts", detail=str(error)) from None
    if not FIRST_MS <= ts <= LAST_MS:
        raise Refused(Reason.BAD_FIELD, field="ts", detail=f"{str(ts)[:40]} ms")
    return int(ts)


def _at(reject: Reject, at: int) -> Reject:
    return msgspec.structs.replace(reject, row=at)


def _unknown(name: str, at: int) -> Reject:
    return Reject(reason=Reason.UNKNOWN_QUANTITY, field=shown(name), row=at)


def shown(text: str) -> str:
    """At most 80 characters of a stranger's text, in ASCII, fit for a label."""
    return text[:80].encode("ascii", "backslashreplace").decode()[:80]


def _not_boolean(name: str, at: int) -> Reject:
    return Reject(reason=Reason.BAD_FIELD, field=name, detail="a number is wanted", row=at)


def encode_messages(batch: ReadingBatch) -> bytes:
    """JSON lines, one message a line, in row order; what `decode` takes.

    Neighbouring rows of one device, time and set of flags share a message. JSON has no infinity:
    an infinite value is written as null of bad quality. Of bad and stale, bad is written.
    """
    value = np.where(np.isinf(batch.value), np.nan, batch.value)
    flags = np.where(np.isinf(batch.value), batch.flags | np.uint16(Flag.BAD), batch.flags)
    names = np.array([QUANTITY_INDEX.get(name, -1) for name in batch.quantities], np.intp)
    signal = np.append(_SIGNAL, False)[names][batch.quantity] if len(batch) else np.empty(0, bool)
    implied = signal & (value != 0) & ~np.isnan(value)
    told = np.where(implied, flags & ~np.uint16(Flag.ALARM), flags)
    encode = _encoder.encode
    return b"".join(encode(line) + b"\n" for line in _lines(batch, value, told))


_encoder: Final = msgspec.json.Encoder()


def _lines(
    batch: ReadingBatch, value: NDArray[np.float64], flags: NDArray[np.uint16]
) -> Iterator[dict[str, Any]]:
    line: dict[str, Any] = {}
    metrics: dict[str, float | None] = {}
    held: tuple[int, int, int] | None = None
    for device, quantity, ts_ms, number, flag in zip(
        batch.device.tolist(),
        batch.quantity.tolist(),
        batch.ts_ms.tolist(),
        value.tolist(),
        flags.tolist(),
        strict=True,
    ):
        name = batch.quantities[quantity]
        key = (device, ts_ms, flag)
        if key != held or name in metrics:
            if line:
                yield line
            held, metrics = key, {}
            line = _line(batch.devices[device], batch.families[device], ts_ms, flag, metrics)
        metrics[name] = number if number == number else None
    if line:
        yield line


def _line(
    device: str, family: str, ts_ms: int, flags: int, metrics: dict[str, float | None]
) -> dict[str, Any]:
    line: dict[str, Any] = {"deviceId": device, "family": family, "ts": ts_ms, "metrics": metrics}
    if flags & (Flag.BAD | Flag.STALE):
        line["quality"] = "bad" if flags & Flag.BAD else "stale"
    for name, flag in (
        ("historical", Flag.HISTORICAL),
        ("test", Flag.TEST),
        ("alarm", Flag.ALARM),
    ):
        if flags & flag:
            line[name] = True
    return line
