"""What dispatch needs to know of a rule: who is told what, how loudly, and why."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.spots import Spot

PLACEHOLDERS: dict[str, str] = {
    "value": "",
    "limit": "",
    "unit": "",
    "quantity": "",
    "device": "",
    "place": "",
    "level": "",
    "since": "",
    "for": "for",
    "count": "group",
    "size": "group",
}
"""What a text may have filled in -> the key that its rule must have, "" = any rule may.

value, limit, unit, quantity: of the deciding reading. level: Ⅰ to Ⅳ, as it is told. since: local
time at which it began. for: the on-delay. count, size: devices of the group that fit, and all.
The name of a quantity stands for its newest reading, in rules that are not of groups.
"""

Late = Literal["annotate", "fire", "drop"]
LATE: tuple[Late, ...] = ("annotate", "fire", "drop")
"""What a rule does with readings that are late, historical or of unknown time: keep them apart as
history, ring as if they were on time, or not look at them."""


class Text(msgspec.Struct, frozen=True):
    """A text in both languages; `PLACEHOLDERS` and quantities in braces are filled in."""

    zh: str = ""
    en: str = ""


class Inhibition(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a rule's alerts back: an open alert of `by` at the same place of the kind `on`.

    by: id of a rule, or `family.*` for every other rule whose id begins so. linger_ms: for how long
    it goes on holding back when it has ended, by the log's time, 0 = not at all.
    """

    by: str
    on: Spot
    linger_ms: int = 0

    def names(self, rule: str) -> bool:
        """Whether `by` means this rule."""
        if self.by.endswith(".*"):
            return rule.startswith(self.by[:-1])
        return rule == self.by


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One of the things that a rule with several can stand at.

    name: as the rule file has it; "missing" = raised by silence, "" = by the rule's only
    condition. severity: 1 (Ⅰ, red) to 4 (Ⅳ, blue). for_ms: its on-delay. silence_ms: how long the
    device must have been silent, 0 = it isn't about silence. timed: whether it waits for late
    readings. condition_text: what raises it.
    """

    name: str
    severity: int
    for_ms: int = 0
    silence_ms: int = 0
    timed: bool = False
    condition_text: str = ""


class Term(msgspec.Struct, frozen=True):
    """What a rule asks beyond the newest value of a quantity: an average, a count, a sequence.

    name: as an expression writes it, `avg(static_pressure, 5m)`. unit: of its values, "" = it is
    true or false. quantity: the name of the one behind it, "" = none alone.
    """

    name: str
    unit: str
    quantity: str


class Where(msgspec.Struct, frozen=True):
    """Some devices: those that fit all of it. `contracts.where` says which those are.

    grids: prefixes of grid codes, one of which must fit; () = any grid. attributes: name and
    accepted values, sorted.
    """

    grids: tuple[str, ...] = ()
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def name(self) -> str:
        """As in `grid=340199001,building_class=over_100m|multi_storey`."""
        grid = (("grid", self.grids),) if self.grids else ()
        return ",".join(f"{key}={'|'.join(values)}" for key, values in (*grid, *self.attributes))


class RuleCard(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as dispatch sees it; a rule with overrides has one for each of its variants.

    id: `family.condition`-like name, unique in its set. hash: of the rule's meaning, on every
    alert; decides: of what it judges by, without who is told, "" = not known. severity: 1 (Ⅰ, red)
    to 4 (Ⅳ, blue), the worst that it can come to. family, condition: the alert's type. unit: of the
    rule's quantity. for_ms: the on-delay. inhibit: while one of these holds, alerts are recorded,
    not delivered. shadow: alerts are recorded, never delivered. budget: how many alerts a grid may
    have in a day at full severity, 0 = any number. A safety rule has none of the three. levels:
    what an alert can stand at, the least first; () = there is one thing only. late: what old
    readings do. flapping: whether its on-delay may grow.
    terms: transitions name them by index behind `QUANTITIES`.
    variant: which of the rule's variants, "" = the rule itself. where, beside: it is for devices
    that fit all of the first and none of the second, so each device meets one variant. layer: the
    name of the layer that had the last word on it, "" = that where it was first written. source:
    file and line of that word, and why: the reason given there.
    detectors: names of those whose scores it asks for, sorted. tells: quantities that its texts
    name, sorted.
    """

    id: str
    hash: str
    family: str
    condition: str
    severity: int
    title: Text
    reason: Text = Text()
    runbook: Text = Text()
    standard: str = ""
    owner: str = ""
    safety: bool = False
    latched: bool = False
    timed: bool = False
    for_ms: int = 0
    unit: str = "1"
    condition_text: str = ""
    inhibit: tuple[Inhibition, ...] = ()
    shadow: bool = False
    budget: int = 0
    levels: tuple[Level, ...] = ()
    decides: str = ""
    terms: tuple[Term, ...] = ()
    late: Late = "annotate"
    flapping: bool = False
    variant: str = ""
    where: tuple[Where, ...] = ()
    beside: tuple[Where, ...] = ()
    layer: str = ""
    source: str = ""
    why: Text = Text()
    detectors: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unique in its set: the id, and the variant behind it where there is one."""
        return f"{self.id}@{self.variant}" if self.variant else self.id
