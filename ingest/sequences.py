"""Which sequences of one boot are settled: received, or known to be lost.

Held as runs, so that memory follows the number of gaps, not of packs; both the runs and the
ranges known to be lost are bounded, because a sender chooses its sequences.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from contracts.pack import MAX_SEQ

MAX_RUNS = 4096
"""Runs beyond the first gap (proposal). Alarms overtake the backlog, so each may open a gap."""
MAX_LOST = 64
"""Ranges remembered as lost (proposal); beyond it the two nearest become one."""

_FIRST, _LAST, _FROM, _TO = range(4)
_first = itemgetter(_FIRST)


class Gap(NamedTuple):
    """Sequences `first..last` that are not settled, between packs closed at from_ms and to_ms."""

    first: int
    last: int
    from_ms: int
    to_ms: int


@dataclass(slots=True)
class Sequences:
    """One boot's sequences, from 1.

    runs: settled [first, last, wall_ms at first, wall_ms at last], in order, never touching;
    the first of them begins at 0, so that its end is the cumulative sequence. lost: closed
    ranges inside the runs that were settled without being received.
    """

    runs: list[list[int]]
    lost: list[tuple[int, int]]

    @staticmethod
    def beginning(start_ms: int) -> Sequences:
        """Nothing received yet of a boot that began at `start_ms`."""
        return Sequences([[0, 0, start_ms, start_ms]], [])

    @property
    def upto(self) -> int:
        """All sequences up to here are settled."""
        return self.runs[0][_LAST]

    @property
    def highest(self) -> int:
        return self.runs[-1][_LAST]

    @property
    def highest_ms(self) -> int:
        return self.runs[-1][_TO]

    def ranges(self, limit: int = MAX_RUNS) -> tuple[tuple[int, int], ...]:
        """The lowest settled closed ranges beyond `upto`."""
        return tuple((run[_FIRST], run[_LAST]) for run in self.runs[1 : limit + 1])

    def is_lost(self, seq: int) -> bool:
        return any(first <= seq <= last for first, last in self.lost)

    def is_settled(self, seq: int) -> bool:
        if seq > self.runs[-1][_LAST]:
            return False
        return seq <= self.runs[bisect_right(self.runs, seq, key=_first) - 1][_LAST]

    def has(self, seq: int) -> bool:
        """Whether it was received; one that is known as lost was not."""
        return self.is_settled(seq) and not (self.lost and self.is_lost(seq))

    def add(self, seq: int, wall_ms: int) -> bool:
        """A sequence was received; returns True where it had been taken for lost."""
        if self.is_settled(seq):
            found = bool(self.lost) and self.is_lost(seq)
            if found:
                self._find(seq)
            return found
        self._settle(seq, seq, wall_ms, wall_ms)
        return False

    def _find(self, seq: int) -> None:
        for i, (first, last) in enumerate(self.lost):
            if first <= seq <= last:
                parts = [(first, seq - 1), (seq + 1, last)]
                self.lost[i : i + 1] = [part for part in parts if part[0] <= part[1]]
                break
        self._bound_lost()

    def gaps(self, upto: int | None = None) -> list[Gap]:
        """What is not settled below the highest sequence, or up to and with `upto`."""
        found = [
            Gap(a[_LAST] + 1, b[_FIRST] - 1, a[_TO], b[_FROM])
            for a, b in zip(self.runs, self.runs[1:], strict=False)
        ]
        if upto is not None:
            tail = self.runs[-1]
            if upto > tail[_LAST]:
                found.append(Gap(tail[_LAST] + 1, upto, tail[_TO], tail[_TO]))
            found = [gap._replace(last=min(gap.last, upto)) for gap in found if gap.first <= upto]
        return found

    def lose(self, first: int, last: int) -> list[Gap]:
        """Settle what is not settled of a range as lost; returns what that was."""
        newly = [
            gap._replace(first=max(gap.first, first))
            for gap in self.gaps(min(last, MAX_SEQ))
            if gap.last >= first
        ]
        for gap in newly:
            self._settle(*gap)
            self.lost.append((gap.first, gap.last))
        if newly:
            self.lost.sort()
            self._bound_lost()
        return newly

    def run_of(self, seq: int) -> tuple[int, int]:
        """The closed settled range around a sequence; itself alone where it isn't known."""
        if not self.is_settled(seq):
            return seq, seq
        run = self.runs[bisect_right(self.runs, seq, key=_first) - 1]
        return run[_FIRST], run[_LAST]

    def forget(self) -> int:
        """Forget the highest runs beyond the bound; returns how many sequences that were.

        They are in the log and will be taken for missing. Settling a gap instead would tell the
        sender to drop packs that nobody has.
        """
        gone = self.runs[MAX_RUNS:]
        del self.runs[MAX_RUNS:]
        return sum(run[_LAST] - run[_FIRST] + 1 for run in gone)

    def _bound_lost(self) -> None:
        # A merged range also covers packs that were received: should those come again, they
        # are written again and found to be equal rows later. The reverse would lose data.
        while len(self.lost) > MAX_LOST:
            room = [b[0] - a[1] for a, b in zip(self.lost, self.lost[1:], strict=False)]
            i = room.index(min(room))
            self.lost[i : i + 2] = [(self.lost[i][0], self.lost[i + 1][1])]

    def _settle(self, first: int, last: int, from_ms: int, to_ms: int) -> None:
        """Add a range that touches no settled sequence."""
        runs = self.runs
        i = bisect_right(runs, first, key=_first)
        before = runs[i - 1]
        after = runs[i] if i < len(runs) else None
        if before[_LAST] + 1 == first:
            before[_LAST], before[_TO] = last, to_ms
            if after is not None and after[_FIRST] == last + 1:
                before[_LAST], before[_TO] = after[_LAST], after[_TO]
                del runs[i]
        elif after is not None and after[_FIRST] == last + 1:
            after[_FIRST], after[_FROM] = first, from_ms
        else:
            runs.insert(i, [first, last, from_ms, to_ms])
