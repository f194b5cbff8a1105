"""What rang against what was expected: exact in rule, device, change and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.groups import PREFIX
from rules.testing.case import Case, Expectation
from rules.testing.checks import fits, said
from rules.testing.times import offset_text

COMMANDED = frozenset({"acknowledged", "disposition", "reset"})
"""Changes that the test's own commands made: they may be expected, and needn't be."""


@dataclass(frozen=True, slots=True)
class Came:
    """One alert event. at_ms: its event time, known_ms: when the record was accepted that made
    it known; both from the start of the test. data: the event's."""

    rule: str
    device: str
    change: str
    at_ms: int
    known_ms: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wrong:
    """An expectation's field that the event says otherwise."""

    name: str
    wanted: str
    came: Any


@dataclass(frozen=True, slots=True)
class Miss:
    """An expectation that nothing met. nearest: an unexpected event that may be meant, with what
    is different about it."""

    wanted: Expectation
    nearest: Came | None
    wrong: tuple[Wrong, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """met: (expectation, event). misses, extra: expectations without an event and the reverse."""

    met: tuple[tuple[Expectation, Came], ...]
    misses: tuple[Miss, ...]
    extra: tuple[Came, ...]

    @property
    def passed(self) -> bool:
        return not self.misses and not self.extra


def judge(case: Case, came: Sequence[Came], scope: set[str]) -> Judgement:
    """scope: ids of the rules that are judged; what others say is passed over."""
    left = [one for one in came if one.rule in scope]
    met: list[tuple[Expectation, Came]] = []
    open_: list[Expectation] = []
    for wanted in case.expect:
        if wanted.rule not in scope:
            continue
        found = next((one for one in left if not wrongs(case, wanted, one)), None)
        if found is None:
            open_.append(wanted)
        else:
            left.remove(found)
            met.append((wanted, found))
    misses = tuple(_miss(case, wanted, left) for wanted in open_)
    extra = tuple(one for one in left if one.change not in COMMANDED)
    return Judgement(tuple(met), misses, extra)


def is_of(written: str, named: str) -> bool:
    """Whether an alert's device or group is the one that a test names.

    >>> is_of("building 3", "group:building:340199001001001/3"), is_of("h1", "h1")
    (True, True)
    """
    if written == named:
        return True
    kind, _, name = written.partition(" ")
    head = f"{PREFIX}{kind}:"
    rest = named.removeprefix(head)
    return bool(name) and named.startswith(head) and f"/{rest}".endswith(f"/{name}")


def wrongs(case: Case, wanted: Expectation, came: Came) -> tuple[Wrong, ...]:
    """What an event says otherwise than expected; none when it fits."""
    found = [
        Wrong(name, str(want), got)
        for name, want, got in (
            ("rule", wanted.rule, came.rule),
            ("is", wanted.change, came.change),
        )
        if want != got
    ]
    if not is_of(wanted.device, came.device):
        found.append(Wrong("device", wanted.device, came.device))
    if wanted.at_ms != came.at_ms:
        found.append(Wrong("at", offset_text(wanted.at_ms), offset_text(came.at_ms)))
    if wanted.known_at_ms is not None and wanted.known_at_ms != came.known_ms:
        found.append(Wrong("known_at", offset_text(wanted.known_at_ms), offset_text(came.known_ms)))
    for name, text in wanted.checks.items():
        if not fits(came.data, name, text, case.start_ms):
            found.append(Wrong(name, text, said(came.data, name, case.start_ms)))
    return tuple(found)


def _miss(case: Case, wanted: Expectation, left: Sequence[Came]) -> Miss:
    """The nearest event: most of rule, device and change right, then the closest in time."""

    def distance(one: Came) -> tuple[int, int]:
        wrong = (one.rule != wanted.rule) * 4 + (not is_of(wanted.device, one.device)) * 2
        return wrong + (one.change != wanted.change), abs(one.at_ms - wanted.at_ms)

    nearest = min(left, key=distance, default=None)
    if nearest is None or nearest.rule != wanted.rule:
        return Miss(wanted, None)
    return Miss(wanted, nearest, wrongs(case, wanted, nearest))
