"""Messages of devices that speak for themselves: quick as columns, and nothing else about them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.batch import Flag
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord
from ingest.binding import Binding
from ingest.decode import Decoder
from ingest.limits import AdmissionSettings
from tests.ingest.scene import BOOT, DAY, REGISTRY, T0, Log
from tests.ingest.test_admission_cuts import Forgetful, OneByOne, Whole

TOPIC = "grid/v1/340111/002/003/001/smoke/{}/tele"
DEVICES = ("lone-1", "new-1", "new-2", "new-3", "sm-1", "sm-2")
OFTEN = ("lone-1", "lone-1", "new-1", "new-2")


class CarefulOnly(Whole):
    """A binding that remembers nobody knows of nobody that nothing is wrong with him."""

    def admit(self, records: list[LogRecord]) -> None:
        super().admit(records)
        blob = self.admission.snapshot()
        self.admission = self.build()
        self.admission.restore(blob)


def native(device: str, ts: int, metrics: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"deviceId": device, "family": "smoke", "ts": ts, "metrics": metrics, **more}


def topic_of(device: str) -> str:
    return TOPIC.format(device)


values = st.sampled_from((0, 0, 1, 1.5, None, True, 2**1000, "x"))
names = st.sampled_from(("fire", "smoke_density", "battery", "battery", "flux"))
metrics = st.dictionaries(names, values, max_size=3)
good_metrics = st.dictionaries(
    st.sampled_from(("fire", "temperature")), st.sampled_from((0, 1, 1, None)), max_size=2
)
offsets = st.sampled_from((0, 0, 0, 1, 300, -1500, -2500, -9000, -DAY, 119_999, 10**7, -T0))
quality = st.sampled_from(({}, {}, {"quality": "bad"}, {"test": True}, {"historical": 5}))
good = st.tuples(st.just("good"), st.sampled_from(OFTEN), st.sampled_from((0, 0, 1)), good_metrics)
strange = st.tuples(
    st.just("strange"),
    st.lists(st.tuples(st.sampled_from(DEVICES), offsets, metrics, quality), max_size=3),
    st.sampled_from(("", *map(topic_of, DEVICES), topic_of("lone-1").replace("/smoke/", "/gas/"))),
)
other = st.one_of(
    st.tuples(st.just("pack"), st.sampled_from(("sm-1", "new-1", "fw-2")), offsets),
    st.tuples(st.just("bytes"), st.sampled_from(("", "lone-1", "x/y", topic_of("new-1")))),
    st.tuples(st.just("senml"), st.sampled_from(OFTEN)),
    st.just(("status",)),
)
steps = st.one_of(good, good, good, strange, other, st.just(("mark",)))
scripts = st.lists(st.tuples(st.sampled_from((0, 0, 1, 50, 4000)), steps), max_size=30)


def written(script: list[Any]) -> list[LogRecord]:
    log = Log()
    records = []
    for wait_ms, step in script:
        log.now += wait_ms
        records.append(record(log, *step))
    return records


def record(log: Log, kind: str, *step: Any) -> LogRecord:
    match kind, step:
        case "good", (device, earlier, told):
            return log.foreign(native(device, log.now - earlier, told), topic_of(device))
        case "strange", (lines, topic):
            messages = [native(d, log.now + at, told, **more) for d, at, told, more in lines]
            return log.foreign(messages[0] if len(messages) == 1 else messages, topic)
        case "pack", (device, at):
            return log.pack([(device, "fire", log.now + at, 1.0), (device, "flow", log.now, 1.0)])
        case "bytes", (topic,):
            return log.foreign(b'{"deviceId":"lone-1"', topic)
        case "senml", (device,):
            line = {"bn": f"{device}:", "n": "temperature", "u": "Cel", "v": 21}
            return log.foreign([line], topic_of(device))
        case "status", ():
            return log.status()
    return log.mark()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=scripts, ways=st.sampled_from((OneByOne, Forgetful, CarefulOnly)))
def test_the_quick_way_gives_what_the_careful_way_gives(script: list[Any], ways: Any) -> None:
    introduced = [(0, ("good", device, 0, {"fire": 0})) for device in OFTEN]
    records = written([*introduced, (0, ("mark",)), *script])

    got, want = Whole().run(records), ways().run(records)

    for quick, careful in zip(got, want, strict=True):
        assert quick == careful


def decoder() -> Decoder:
    return Decoder(Binding(DeviceDirectory(REGISTRY)), AdmissionSettings())


def test_who_was_judged_before_goes_the_quick_way() -> None:
    decode, log = decoder(), Log()
    strangers = [native("new-1", T0, {"fire": 1, "battery": 3}), native("lone-1", T0, {"fire": 0})]
    records = [log.foreign(line, topic_of(str(line["deviceId"]))) for line in strangers]

    first, second = decode.decode(records), decode.decode(records)

    assert (first.plain, first.index) == (None, [0, 1])
    assert second.arrivals == []
    assert second.plain is not None
    assert second.plain.record.tolist() == [0, 0, 1]
    assert second.plain.row.tolist() == [0, 1, 0]


def test_a_line_of_a_recording_goes_the_quick_way_whoever_its_gateway_is() -> None:
    decode, log = decoder(), Log()
    line = log.foreign(native("sm-1", T0, {"fire": 1}))

    decode.decode([line])
    decoded = decode.decode([line])

    assert decoded.arrivals == []
    assert decoded.plain is not None
    assert decoded.plain.home.tolist() == [0]


def test_a_name_known_from_a_recording_is_no_topic() -> None:
    decode, log = decoder(), Log()
    line = native("lone-1", T0, {"fire": 1})
    decode.decode([log.foreign(line)])

    decoded = decode.decode([log.foreign(line, "lone-1")])

    assert decoded.plain is None
    assert [reject.reject.reason.value for reject in decoded.rejects] == ["bad_topic"]


LONE = native("lone-1", T0, {"fire": 0})
FLOOR_MS, FUTURE_MS = AdmissionSettings().floor_ms, AdmissionSettings().future_ms


@pytest.mark.parametrize(
    ("message", "topic", "is_plain"),
    [
        pytest.param(LONE, topic_of("lone-1"), True, id="the-same-again"),
        pytest.param([LONE, LONE], topic_of("lone-1"), True, id="twice-in-one"),
        pytest.param(LONE | {"ts": FLOOR_MS}, topic_of("lone-1"), True, id="oldest"),
        pytest.param(LONE | {"ts": FLOOR_MS - 1}, topic_of("lone-1"), False, id="too-old"),
        pytest.param(LONE | {"ts": T0 + FUTURE_MS}, topic_of("lone-1"), True, id="ahead"),
        pytest.param(LONE | {"ts": T0 + FUTURE_MS + 1}, topic_of("lone-1"), False, id="future"),
        pytest.param(LONE | {"metrics": {"fire": 0, "flux": 1}}, topic_of("lone-1"), False, id="x"),
        pytest.param(LONE | {"metrics": {}}, topic_of("lone-1"), False, id="empty"),
        pytest.param(LONE | {"family": "gas"}, topic_of("lone-1"), False, id="family"),
        pytest.param(LONE | {"deviceId": "new-1"}, topic_of("lone-1"), False, id="other-device"),
        pytest.param(LONE, topic_of("new-1"), False, id="topic-of-another"),
        pytest.param(
            [LONE, LONE | {"deviceId": "new-1"}], topic_of("lone-1"), False, id="second-device"
        ),
        pytest.param(b"{", topic_of("lone-1"), False, id="bytes"),
        pytest.param(LONE, "grid/v1/what", False, id="bad-topic"),
    ],
)
def test_only_what_has_no_fault_is_plain(message: object, topic: str, is_plain: bool) -> None:
    decode, log = decoder(), Log()
    acquainted = [LONE, native("new-1", T0, {"fire": 0})]
    decode.decode([log.foreign(one, topic_of(str(one["deviceId"]))) for one in acquainted])

    assert (decode.decode([log.foreign(message, topic)]).plain is not None) == is_plain


def test_plain_ones_beside_a_pack_and_an_odd_one_count_as_alone() -> None:
    log = Log()
    topic = topic_of("lone-1")
    records = [log.foreign(LONE, topic), log.mark()]
    log.now += 5000
    records += [
        log.foreign(LONE | {"ts": T0 + 4000}, topic),
        log.pack([("fw-1", "flow", T0, 1.0)]),
        log.foreign(LONE | {"ts": T0 + 10**8, "metrics": {"fire": 1}}, topic),
        log.foreign(LONE | {"ts": T0 + 1500}, topic),
        log.foreign(LONE | {"ts": T0 + 2500}, topic),
    ]

    got, want = Whole().run(records), OneByOne().run(records)

    assert got == want
    late, order = ([int(row[column]) for row in got[0]] for column in (4, 8))
    assert [flags & Flag.LATE > 0 for flags in late] == [False, False, False, False, True, False]
    assert order == [1, 3, (BOOT >> 32) << 40 | 1, 5, 6, 7]


def test_one_bad_message_sends_only_itself_the_careful_way() -> None:
    decode, log = decoder(), Log()
    line, topic = native("lone-1", T0, {"fire": 0}), topic_of("lone-1")
    decode.decode([log.foreign(line, topic)])
    ahead, unknown, broken, other = (
        line | {"ts": T0 + 10**7},
        line | {"metrics": {"flux": 1, "fire": 0}},
        b"{",
        native("new-1", T0, {"fire": 1}),
    )
    told = [line, ahead, line, unknown, broken, other, line]

    decoded = decode.decode([log.foreign(message, topic) for message in told])

    assert decoded.plain is not None
    assert decoded.plain.record.tolist() == [0, 2, 6]
    assert decoded.index == [1, 3, 5]
