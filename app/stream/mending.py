"""What to do about records that the engine fails on. Pure.

The first failure only says that one of several records is bad, and the state is worth nothing any
more: an earlier one is taken up, and the same records are worked off one by one. The record at
which that fails is left out as undecidable, as a dead letter, once more from an earlier state. Who
comes after reads the same records and finds the same. What can't be left out alone (a time mark, a
command, rules) makes the lane stand: it tries again, ever more seldom, until another version of
the program gets through.
"""

from __future__ import annotations

from app.stream.partition import Undecidable
from ingest.partition import Place

PAUSE_S = (5.0, 600.0)
MOST_UNDECIDABLE = 1_000
"""Beyond so many in one life it isn't the records that are bad (proposal): the lane stands."""


class Mending:
    """undecidable: records that are left out from now on, with the reason."""

    def __init__(self) -> None:
        self.undecidable: dict[Place, str] = {}
        self._careful_to = -1
        self._pause_s = PAUSE_S[0]

    def careful(self, offset: int) -> bool:
        """Whether the record of the log at `offset` is to be worked off alone."""
        return offset <= self._careful_to

    def failed(self, error: Undecidable, last: int) -> float:
        """last: the offset of the last record that was being worked off.

        Seconds to wait before the next try; 0 = something is known now that may help.
        """
        if error.place is None:
            helps = not self.careful(last)
            self._careful_to = max(self._careful_to, last)
        else:
            helps = (
                error.separable
                and error.place not in self.undecidable
                and len(self.undecidable) < MOST_UNDECIDABLE
            )
            if helps:
                self.undecidable[error.place] = error.why
        if helps:
            return 0.0
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, PAUSE_S[1])
        return pause_s
