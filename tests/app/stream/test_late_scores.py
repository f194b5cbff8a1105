"""A fall that is judged late, because nobody worked on its partition, still calls people."""

from __future__ import annotations

import pytest

from app.content import content_hash, pack_rules, pack_settings, shipped_rules
from app.contents import Contents
from app.stream.judge import Judge
from app.stream.partition import Partition
from app.stream.signals import decode
from contracts.alerts import AlertEvent
from contracts.log import LogRecord, encode_bundle
from ingest.limits import AdmissionSettings
from ingest.partition import Bundle
from tests.app import test_falling_cameras as cameras
from tests.app.stream.test_signals import Held, content_of
from tests.app.stream.town import installed, mark

S, MINUTE = 1_000, 60_000
T0 = cameras.T0


class Site:
    """One partition and the judge of its cameras; what the judge finds goes to the log's end."""

    def __init__(self) -> None:
        found = {
            "registry": content_of(cameras.FILES),
            "rules": pack_rules(shipped_rules()),
            "settings": pack_settings(AdmissionSettings()),
        }
        contents = Contents(Held({content_hash(one): one for one in found.values()}))
        self.partition = Partition(0, contents, detectors=["falling"])
        self.judge = Judge(lambda: cameras.speaker().detector, contents)
        self.waiting: list[bytes] = []
        self.events: list[AlertEvent] = []
        self.put([installed(T0 - MINUTE, what, one) for what, one in found.items()])

    def put(self, records: list[LogRecord]) -> None:
        bundle = Bundle(self.partition.offset + 1, 1 << 60, encode_bundle(records))
        outputs = self.partition.work([bundle])
        self.events += outputs.events
        self.waiting += [one.value for one in outputs.signals]

    def catch_up(self) -> None:
        waiting, self.waiting = self.waiting, []
        for value in waiting:
            found, refused = self.judge.take(decode(value))
            assert not refused
            if found:
                self.put(found)


@pytest.mark.parametrize(
    ("out_s", "rings"), [(0, True), (120, True), (14 * 60, True), (1000, False)]
)
def test_a_fall_during_an_outage_rings_within_a_quarter_of_an_hour(out_s: int, rings: bool) -> None:
    """Whoever takes over reads on and tells the time; the scores come behind that."""
    site = Site()
    site.put([cameras.record(1)])
    site.put([mark(T0 + at * S) for at in range(1, out_s + 4)])
    site.catch_up()
    site.put([mark(T0 + (out_s + at) * S) for at in range(4, 12)])
    site.catch_up()
    (raised,) = [one for one in site.events if one.type.endswith("falling_object.raised")]
    assert raised.data["notify"] == rings
    assert raised.data["timing"]["late"] == (out_s > 0)
    assert bool(raised.expirytime) != rings
    # Somebody throws again, and is heard at once: the first fall is over, though nobody reset it.
    again_ms = T0 + (out_s + 60) * S
    site.put([mark(again_ms - S), cameras.record(2, at_ms=again_ms)])
    site.put([mark(again_ms + at * S) for at in (1, 2)])
    site.catch_up()
    site.put([mark(again_ms + at * S) for at in range(3, 12)])
    calls = [one for one in site.events if one.data.get("notify")]
    assert len(calls) == 1 + rings
