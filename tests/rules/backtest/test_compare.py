"""Episodes of two rule sets: every one of both is told of once, and what differs is named."""

from __future__ import annotations

from xml.etree import ElementTree

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rules.backtest import Episode, compare, picture

T0 = 1_780_000_000_000
S = 1_000
BASE = Episode(
    alert="a",
    rule="efire.high",
    device="e1",
    grid="340199001001001",
    safety=False,
    severity=2,
    onset_ms=T0,
    raised_ms=T0 + 30 * S,
    ended_ms=T0 + 300 * S,
    late=False,
    delivered=True,
    disposition="",
)


def episode(alert: str, start_s: int, end_s: int | None, **changed: object) -> Episode:
    times = {
        "onset_ms": T0 + start_s * S,
        "raised_ms": T0 + start_s * S,
        "ended_ms": None if end_s is None else T0 + end_s * S,
    }
    return msgspec.structs.replace(BASE, alert=alert, **{**times, **changed})


def test_the_same_alert_at_another_time_has_moved() -> None:
    later = msgspec.structs.replace(BASE, raised_ms=BASE.raised_ms + 60 * S, severity=3)
    found = compare([BASE], [later])
    assert [one.why for one in found.moved] == [("raised 60 s later", "severity 2 -> 3")]
    assert not found.same
    assert not found.added
    assert not found.lost


def test_an_alert_that_is_no_longer_told_has_moved() -> None:
    quiet = msgspec.structs.replace(BASE, delivered=False)
    assert [one.why for one in compare([BASE], [quiet]).moved] == [("is no longer told",)]


def test_another_onset_of_the_same_time_is_the_same_alert_moved() -> None:
    found = compare([episode("a", 0, 100)], [episode("b", 50, 100)])
    assert [one.why for one in found.moved] == [("raised 50 s later",)]


def test_what_does_not_overlap_is_lost_and_added() -> None:
    found = compare([episode("a", 0, 100)], [episode("b", 101, 200)])
    assert [one.alert for one in found.lost] == ["a"]
    assert [one.alert for one in found.added] == ["b"]


def test_one_long_alert_for_two_short_ones_is_a_move_and_a_loss() -> None:
    found = compare([episode("a", 0, 100), episode("b", 150, 200)], [episode("c", 10, None)])
    assert [one.old.alert for one in found.moved] == ["a"]
    assert [one.alert for one in found.lost] == ["b"]


def test_devices_and_rules_are_told_apart() -> None:
    found = compare([BASE], [msgspec.structs.replace(BASE, alert="b", device="e2")])
    assert len(found.lost) == len(found.added) == 1


def test_a_lost_alert_of_a_safety_rule_is_named() -> None:
    fire = msgspec.structs.replace(BASE, safety=True)
    assert compare([fire, episode("b", 400, 500)], []).lost_safety() == (fire,)


episodes = st.lists(
    st.builds(
        lambda number, start, length, device: episode(
            f"{number}", start, None if length is None else start + length, device=device
        ),
        number=st.integers(0, 12),
        start=st.integers(0, 50),
        length=st.none() | st.integers(0, 30),
        device=st.sampled_from(["e1", "e2"]),
    ),
    max_size=8,
    unique_by=lambda one: one.alert,
)


@given(episodes, episodes)
def test_every_episode_is_told_of_once(old: list[Episode], new: list[Episode]) -> None:
    found = compare(old, new)
    both = len(found.same) + len(found.moved)
    assert both + len(found.lost) == len(old)
    assert both + len(found.added) == len(new)
    told_new = [*found.same, *(one.new for one in found.moved), *found.added]
    assert sorted(one.alert for one in told_new) == sorted(one.alert for one in new)
    told_old = [*(one.old for one in found.moved), *found.lost]
    assert {one.alert for one in told_old} <= {one.alert for one in old}
    assert sum(sum(counts.values()) for counts in found.tally().values()) == (
        both + len(found.lost) + len(found.added)
    )


@given(episodes)
def test_nothing_changes_when_nothing_changed(old: list[Episode]) -> None:
    found = compare(old, old)
    assert not found.moved
    assert not found.added
    assert not found.lost


def test_the_picture_draws_what_changed_and_escapes_names() -> None:
    odd = msgspec.structs.replace(BASE, alert="x", device="<e&1>")
    found = compare([odd, BASE], [BASE])
    drawn = picture(found, title="a < b", span_ms=(T0, T0 + 600 * S))
    root = ElementTree.fromstring(drawn)  # noqa: S314 - our own text.
    space = "{http://www.w3.org/2000/svg}"
    titles = [element.text or "" for element in root.iter(f"{space}title")]
    assert any("<e&1>" in text and "lost" in text for text in titles)
    assert not any(" e1 " in text for text in titles), "what didn't change is not drawn"
