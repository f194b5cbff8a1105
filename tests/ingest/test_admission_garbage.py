"""No bytes make admission raise, and none vanish uncounted."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from contracts.directory import DeviceDirectory
from contracts.log import RecordKind
from contracts.pack import HEADER
from contracts.quantities import FAMILY_INDEX
from contracts.registry import DeviceTable, Registry
from ingest.admission import Admission, SnapshotRefused
from tests.ingest.scene import T0, Log, about_devices, admission, told


def mutated(data: bytes, rng: random.Random, *, mend: bool) -> bytes:
    """Some bytes changed, cut off or put in; with `mend` the checksum is made right again."""
    bytes_ = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(bytes_))
        what = rng.random()
        if what < 0.8 or mend:
            bytes_[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif what < 0.9:
            del bytes_[at : at + rng.randint(1, 9)]
        else:
            bytes_[at:at] = rng.randbytes(3)
        bytes_ = bytes_ or bytearray(b"\0")
    if mend and len(bytes_) > HEADER.size:
        bytes_[8:12] = struct.pack("<I", len(bytes_))
        bytes_[12:16] = struct.pack("<I", zlib.crc32(bytes_[16:], zlib.crc32(bytes_[:12])))
    return bytes(bytes_)


@pytest.mark.parametrize("mend", [False, True], ids=["torn", "with-a-right-checksum"])
def test_mutated_packs_are_rejects_and_stall_nobody(mend: bool) -> None:
    rng, log, admit = random.Random(7), Log(), admission()
    rows = [("sm-1", "fire", T0, 1.0), ("fw-1", "flow", T0 - 5, 0.5), ("new-1", "battery", T0, 3.0)]
    refused = passed = 0
    for n in range(300):
        log.now += 10
        packs = [log.pack(rows) for _ in range(4)]
        records = [replace(r, payload=mutated(r.payload, rng, mend=mend)) for r in packs]
        good = log.pack([("fw-2", "flow", log.now, float(n))], gateway="gw-b")
        admitted = admit.admit([*records, good])
        refused += len(admitted.rejects)
        passed += len(admitted.batch)
        assert ("fw-2", "flow", log.now, float(n)) in [
            row[:4] for row in about_devices(told(admitted, admit._directory))
        ]
    assert refused > 300
    assert passed > 300


def test_mutated_messages_are_rejects() -> None:
    rng, log, admit = random.Random(8), Log(), admission()
    topic = "grid/v1/340111/002/003/001/smoke/lone-1/tele"
    native = b'{"deviceId":"lone-1","family":"smoke","ts":1760000000000,"metrics":{"fire":1}}'
    senml = b'[{"bn":"lone-1:","n":"temperature","u":"Cel","v":21,"bt":1760000000}]'
    status = log.status().payload
    for _ in range(1500):
        log.now += 1
        for kind, source, payload in (
            (RecordKind.FOREIGN, topic, native),
            (RecordKind.FOREIGN, "", native),
            (RecordKind.FOREIGN, topic, senml),
            (RecordKind.STATUS, "gw-a", status),
        ):
            record = log.record(kind, source, mutated(payload, rng, mend=False))
            admitted = admit.admit([record])
            heard = len(admitted.batch) + len(admitted.rejects) + sum(admitted.counts.values())
            assert heard > 0, record.payload


def test_a_snapshot_of_another_version_or_registry_is_refused() -> None:
    admit, log = admission(), Log()
    admit.admit([log.pack([("new-1", "fire", T0, 1.0)])])
    blob = admit.snapshot()
    state = msgspec.msgpack.decode(blob)
    next_one = state["version"] + 1
    newer = msgspec.msgpack.encode(state | {"version": next_one})
    with pytest.raises(SnapshotRefused, match=f"version {next_one}"):
        admission().restore(newer)
    elsewhere = admission()
    elsewhere._directory.intern_device("other", "smoke", 0)
    with pytest.raises(SnapshotRefused):
        elsewhere.restore(blob)


def test_a_new_registry_takes_over_what_waits() -> None:
    """A stranger has been registered: its rows wait on under its new row and gateway."""
    admit, log = admission(), Log()
    admit.admit([log.pack([("new-1", "fire", T0, 1.0), ("fw-1", "flow", T0, 2.0)])])
    table = DeviceTable(
        ids=("fw-1", "new-1"),
        family=np.array([FAMILY_INDEX["firewater"], FAMILY_INDEX["smoke"]], np.int8),
        gateways=("gw-z", "gw-a"),
        gateway=np.array([1, 0], np.int32),
        grid=np.array([-1, -1], np.int32),
        lon=np.full(2, np.nan),
        lat=np.full(2, np.nan),
    )
    directory = DeviceDirectory(Registry(devices=table))
    old = admit._directory
    for device, family, gateway in old.strangers():
        directory.intern_device(device, family, directory.intern_gateway(gateway))
    remap = np.array([directory.row_of.get(device, -1) for device in old.ids], np.int32)
    again = Admission(directory)

    again.restore(admit.snapshot(), remap)

    duplicate = again.admit([log.pack([("fw-1", "flow", T0, 2.0)])])
    assert duplicate.counts == {"duplicate": 1}
    log.now += 5000
    released, progress = again.mark(log.mark())
    assert [row[:4] for row in told(released, directory)] == [
        ("new-1", "fire", T0, 1.0),
        ("fw-1", "flow", T0, 2.0),
    ]
    assert progress.watermark_ms.tolist()[:2] == [T0, T0]
