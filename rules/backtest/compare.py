"""Two sets of episodes from the same input, told apart: the same, moved, added or lost.

An episode of the old rules and one of the new are the same alert when their ids agree (same rule,
device and onset), or else when they are of one rule and device and overlap in time, the earliest
first. What has no partner is lost or added.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from rules.backtest.episode import Episode

Verdict = Literal["same", "moved", "added", "lost"]
FOREVER_MS = 2**62


class Moved(msgspec.Struct, frozen=True):
    """The same alert, but otherwise: why names what differs, for people."""

    old: Episode
    new: Episode
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """same: of the new rules. Each list is sorted by rule, device and time."""

    same: tuple[Episode, ...]
    moved: tuple[Moved, ...]
    added: tuple[Episode, ...]
    lost: tuple[Episode, ...]

    def tally(self) -> dict[tuple[str, str], Counter[Verdict]]:
        """(rule, grid) -> how many of each, sorted."""
        found: dict[tuple[str, str], Counter[Verdict]] = defaultdict(Counter)
        told: tuple[tuple[Verdict, Iterable[Episode]], ...] = (
            ("same", self.same),
            ("moved", (one.new for one in self.moved)),
            ("added", self.added),
            ("lost", self.lost),
        )
        for verdict, episodes in told:
            for episode in episodes:
                found[episode.rule, episode.grid][verdict] += 1
        return dict(sorted(found.items()))

    def lost_safety(self) -> tuple[Episode, ...]:
        """Alerts of safety rules that the new rules wouldn't raise: the worst that can be found."""
        return tuple(episode for episode in self.lost if episode.safety)


def compare(old: Iterable[Episode], new: Iterable[Episode]) -> Comparison:
    """See the top of this module."""
    before, after = _by_subject(old), _by_subject(new)
    same: list[Episode] = []
    moved: list[Moved] = []
    added: list[Episode] = []
    lost: list[Episode] = []
    for subject in sorted(before.keys() | after.keys()):
        pairs, gone, come = _paired(before.get(subject, []), after.get(subject, []))
        for one, other in pairs:
            why = tuple(_differences(one, other))
            if why:
                moved.append(Moved(one, other, why))
            else:
                same.append(other)
        lost += gone
        added += come
    return Comparison(tuple(same), tuple(moved), tuple(added), tuple(lost))


def _by_subject(episodes: Iterable[Episode]) -> dict[tuple[str, str, bool], list[Episode]]:
    found: dict[tuple[str, str, bool], list[Episode]] = defaultdict(list)
    for episode in episodes:
        found[episode.rule, episode.device, episode.late].append(episode)
    for listed in found.values():
        listed.sort(key=lambda one: (one.raised_ms, one.onset_ms))
    return found


def _paired(
    old: Sequence[Episode], new: Sequence[Episode]
) -> tuple[list[tuple[Episode, Episode]], list[Episode], list[Episode]]:
    """(pairs, those left of the old, those left of the new)."""
    ids = {one.alert: one for one in new}
    pairs = [(one, ids.pop(one.alert)) for one in old if one.alert in ids]
    known = {one.alert for one, _ in pairs}
    left_old = [one for one in old if one.alert not in known]
    left_new = [one for one in new if one.alert in ids]
    gone, at = [], 0
    come: list[Episode] = []
    for one in left_old:
        while at < len(left_new) and _end(left_new[at]) < one.onset_ms:
            come.append(left_new[at])
            at += 1
        if at < len(left_new) and left_new[at].onset_ms <= _end(one):
            pairs.append((one, left_new[at]))
            at += 1
        else:
            gone.append(one)
    come += left_new[at:]
    return pairs, gone, come


def _end(episode: Episode) -> int:
    return FOREVER_MS if episode.ended_ms is None else episode.ended_ms


def _differences(old: Episode, new: Episode) -> Iterable[str]:
    if new.raised_ms != old.raised_ms:
        yield f"raised {_shift(new.raised_ms - old.raised_ms)}"
    if new.ended_ms != old.ended_ms:
        if new.ended_ms is None:
            yield "stays open"
        elif old.ended_ms is None:
            yield "now ends"
        else:
            yield f"ends {_shift(new.ended_ms - old.ended_ms)}"
    if new.severity != old.severity:
        yield f"severity {old.severity} -> {new.severity}"
    if new.delivered != old.delivered:
        yield "is told" if new.delivered else "is no longer told"


def _shift(by_ms: int) -> str:
    seconds = abs(by_ms) / 1000
    if seconds < 120:
        text = f"{seconds:g} s"
    elif seconds < 7_200:
        text = f"{seconds / 60:.3g} min"
    else:
        text = f"{seconds / 3_600:.3g} h"
    return f"{text} {'later' if by_ms > 0 else 'earlier'}"
