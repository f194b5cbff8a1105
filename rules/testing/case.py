"""A rule test as read from its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rules.testing.faults import Fault
from rules.testing.notation import Sample


@dataclass(frozen=True, slots=True)
class Device:
    """gateway: that speaks for it. attributes: registry columns, grid among them."""

    id: str
    family: str
    gateway: str
    attributes: Mapping[str, str]

    def has(self, attribute: str, values: tuple[str, ...]) -> bool:
        """Whether a selector fits."""
        return self.attributes.get(attribute) in values


@dataclass(frozen=True, slots=True)
class Series:
    """Readings of one quantity of one device: tick i is at `from_ms + i * interval_ms`, counted
    from the start of the test; None = no reading."""

    device: str
    quantity: str
    from_ms: int
    interval_ms: int
    samples: tuple[Sample | None, ...]

    @property
    def end_ms(self) -> int:
        """The time of the last tick."""
        return self.from_ms + (len(self.samples) - 1) * self.interval_ms


@dataclass(frozen=True, slots=True)
class Command:
    """What a person does: acknowledge, reset or a disposition of the newest alert of
    (rule, device)."""

    line: int
    at_ms: int
    action: str
    rule: str
    device: str
    disposition: str = ""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One change of one alert. change: a word of `AlertChange`. at_ms, known_at_ms: from the
    start of the test; known_at_ms None = whenever.

    checks: field -> text, as written, of what else the event must say.
    """

    line: int
    path: str
    at_ms: int
    rule: str
    device: str
    change: str
    known_at_ms: int | None = None
    checks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One test. start_ms: unix ms. until_ms: when it ends, from its start."""

    file: str
    line: int
    name: str
    start_ms: int
    interval_ms: int
    seed: int
    until_ms: int
    devices: Mapping[str, Device]
    series: tuple[Series, ...]
    faults: tuple[Fault, ...] = ()
    commands: tuple[Command, ...] = ()
    expect: tuple[Expectation, ...] = ()

    def rules_named(self) -> set[str]:
        return {e.rule for e in self.expect} | {c.rule for c in self.commands}
