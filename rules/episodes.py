"""From changes of machine rows to those of public rules: one alert for all levels of a rule.

Of the rows of one rule that hold for a device, the greatest (`Rule.order`) is what the alert
stands at. The first row that holds raises it, and gives it its onset; another row to stand at
is a `LEVEL`; the last row that ends clears it. The alert is unknown while the row that it
stands at is.

What happens at the same time is worked through in turns, each with the next change of every
row, and in a turn in the order known, raised, cleared, unknown: so two levels met by one reading
raise once, at the greater; a level that begins as another ends gives no gap; and an alert that
begins and ends at the same moment is told. A rule of one row passes as it is.

A silence that counts as a breach ends with the next reading. That shows at the next mark only; so
where a row that acts at once tells of a reading, the silence is over with it (`ended`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from contracts.transitions import COLUMNS, Change, TransitionBatch
from rules.instances import NEVER_MS
from rules.parameters import Parameters
from rules.ruleset import RuleSet

Subject: TypeAlias = tuple[int, int, int]
"""(public row, lane, directory row)."""

Row: TypeAlias = dict[str, int | float]
"""One transition, by column."""

_TURN = (Change.KNOWN, Change.RAISED, Change.CLEARED, Change.UNKNOWN)
_NO_ROW = -1


@dataclass(slots=True)
class Standing:
    """An open alert of a rule with several rows.

    rows: machine row -> whether its data is lost, of those that hold. at_ms: of the last change
    told.
    """

    onset_ms: int
    at_ms: int
    rows: dict[int, bool] = field(default_factory=dict)

    @property
    def row(self) -> int:
        """What it stands at: rows of a rule ascend by order."""
        return max(self.rows, default=_NO_ROW)

    @property
    def unknown(self) -> bool:
        return self.rows.get(self.row, False)


class Episodes:
    """standing: the open alerts of rules with several rows, in both lanes; state.

    ended: (machine row, directory row) of silences that a reading has ended in the last `merge`.
    """

    def __init__(self, ruleset: RuleSet, parameters: Parameters) -> None:
        self._limits = parameters.when_limit
        self._public = ruleset.public
        self._severity = [rule.severity for rule in ruleset.rules]
        self._level = [rule.level for rule in ruleset.rules]
        rows_of = np.bincount(self._public, minlength=len(ruleset.cards))
        self.several: NDArray[np.bool_] = rows_of[self._public] > 1
        self._silences = [rule.mode == "silence" for rule in ruleset.rules]
        self.standing: dict[Subject, Standing] = {}
        self.ended: list[tuple[int, int]] = []

    def public_row(self, row: int) -> int:
        return int(self._public[row])

    def forget(self, public: int, device: int) -> None:
        """Somebody reset the alert."""
        for lane in (0, 1):
            self.standing.pop((public, lane, device), None)

    def merge(self, found: TransitionBatch) -> TransitionBatch:
        """Changes in their order, of machine rows, to those of public rules; not in order."""
        self.ended = []
        if not len(found):
            return found
        single = found
        merged = TransitionBatch.empty()
        if self.several.any():
            several = self.several[found.rule]
            single = found.take(np.flatnonzero(~several))
            merged = self._merge(found.take(np.flatnonzero(several)))
        return TransitionBatch.join([replace(single, rule=self._public[single.rule]), merged])

    def _merge(self, found: TransitionBatch) -> TransitionBatch:
        columns = (getattr(found, name).tolist() for name in COLUMNS)
        subjects: dict[Subject, list[Row]] = {}
        for values in zip(*columns, strict=True):
            row: Row = dict(zip(COLUMNS, values, strict=True))
            subject = self.public_row(int(row["rule"])), int(row["lane"]), int(row["device"])
            subjects.setdefault(subject, []).append(row)
        told = [
            row
            for subject, rows in subjects.items()
            for _, together in groupby(rows, itemgetter("position", "row", "at_ms"))
            for row in self._together(subject, list(together))
        ]
        return TransitionBatch.of_rows(told)

    def _together(self, subject: Subject, rows: list[Row]) -> Iterator[Row]:
        """Changes of one subject at the same time."""
        turns: list[dict[int, Row]] = []
        taken: dict[int, int] = {}
        for row in rows:
            number = int(row["rule"])
            turn = taken.get(number, 0)
            taken[number] = turn + 1
            if turn == len(turns):
                turns.append({})
            turns[turn][number] = row
        for rows_of_turn in turns:
            for change in _TURN:
                same = [row for row in rows_of_turn.values() if row["change"] == change]
                if same:
                    yield from self._step(subject, change, same)

    def _step(self, subject: Subject, change: Change, rows: list[Row]) -> Iterator[Row]:
        """Changes of one kind at the same time, and what they make of the alert."""
        standing = self.standing.get(subject)
        before = _NO_ROW if standing is None else standing.row
        unknown = standing is not None and standing.unknown
        if standing is None:
            if change is not Change.RAISED:
                return
            onset_ms = min(int(row["onset_ms"]) for row in rows)
            standing = self.standing[subject] = Standing(onset_ms, int(rows[0]["at_ms"]))
        for row in rows:
            if change is Change.CLEARED:
                standing.rows.pop(int(row["rule"]), None)
            else:
                standing.rows[int(row["rule"])] = change is Change.UNKNOWN
        if int(rows[0]["row"]) >= 0:
            over = [row for row in standing.rows if self._silences[row]]
            self.ended += [(row, subject[2]) for row in over]
            for row_over in over:
                del standing.rows[row_over]
        yield from self._told(subject, standing, before, rows)
        if standing.rows and standing.unknown != unknown:
            change = Change.UNKNOWN if standing.unknown else Change.KNOWN
            yield self._tell(change, subject, standing, standing.row, rows[-1])

    def _told(
        self, subject: Subject, standing: Standing, before: int, rows: list[Row]
    ) -> Iterator[Row]:
        """What it stands at now, where that is something else than before."""
        now = standing.row
        if now == before:
            return
        by_row = {int(row["rule"]): row for row in rows}
        change = Change.LEVEL
        if before == _NO_ROW:
            change = Change.RAISED
        elif now == _NO_ROW:
            change = Change.CLEARED
            del self.standing[subject]
        # A level that it falls to said nothing itself: the one that ended did.
        said = by_row.get(now, by_row.get(before, rows[-1]))
        yield self._tell(change, subject, standing, before if now == _NO_ROW else now, said)

    def _tell(
        self, change: Change, subject: Subject, standing: Standing, stands_at: int, said: Row
    ) -> Row:
        """said: the change of a machine row that is behind it."""
        # Levels of one rule may be decided at once and at marks: times never fall back.
        standing.at_ms = max(standing.at_ms, int(said["at_ms"]))
        told = said | {
            "rule": subject[0],
            "change": int(change),
            "at_ms": standing.at_ms,
            "onset_ms": standing.onset_ms,
            "severity": self._severity[stands_at],
            "level": self._level[stands_at],
        }
        if change is Change.LEVEL:
            limit = self._limits.of(
                np.array([stands_at], np.int16),
                np.array([said["quantity"]], np.int16),
                np.array([subject[2]], np.int32),
                np.array([said["value"]]),
            )
            told["threshold"] = float(limit[0])
        return told

    # Snapshots

    def stand(self, row: int, lane: int, device: int, *, unknown: bool, onset_ms: int) -> None:
        """Take in a machine row that holds, as restored instances have it."""
        subject = self.public_row(row), lane, device
        standing = self.standing.setdefault(subject, Standing(onset_ms, NEVER_MS))
        standing.rows[row] = unknown
        standing.onset_ms = min(standing.onset_ms, onset_ms)

    def saved(self) -> list[tuple[Subject, Standing]]:
        """In the order of subjects."""
        return sorted(self.standing.items(), key=itemgetter(0))
