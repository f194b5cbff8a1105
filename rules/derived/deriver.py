"""What makes derived rows: the protocol of one kind, and the form of its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from rules.derived.rows import Rows
from rules.sheet import Beside
from rules.watermarks import Watermarks

Kept: TypeAlias = Mapping[str, Mapping[str, NDArray[Any]]]
"""State as columns, under names of one's own; directory rows are int32."""

NewRows: TypeAlias = Callable[[NDArray[np.int32]], NDArray[np.int32]]
"""Directory rows of a snapshot to those of now, -1 = gone."""


class Deriver(Protocol):
    """Makes the rows of one kind of derived quantities; those are the entries it was built with.

    reads_derived: whether it looks at what earlier kinds derive.
    feed: rows in order of event time, each mark's in one call, with all of earlier kinds where it
    looks at them; answers with the rows to add, in any order. Ticks up to the watermark belong to
    the mark too. Only what is known by a row's own time and place may decide it. active: int32
    per directory row, how many instances of the device are; rows that no rule of others wants
    may be left out.
    next_ms: the earliest event time of a tick to come; None = none.
    state, load: all that must survive. The same state gives the same columns, whatever was
    called how often; `load` fills a newly built one, and leaves out what it doesn't know.
    """

    name: str

    @property
    def reads_derived(self) -> bool: ...

    def asked(self) -> set[int]:
        """All quantities whose rows it looks at."""
        ...

    def feed(
        self,
        batch: TaggedBatch,
        beside: Beside,
        watermarks: Watermarks,
        active: NDArray[np.int32],
    ) -> Rows | None: ...

    def next_ms(self) -> int | None: ...

    def state(self) -> Kept: ...

    def load(self, kept: Kept, new_rows: NewRows) -> None: ...

    def state_bytes(self) -> int: ...

    def counts(self) -> Mapping[str, int]:
        """What couldn't be kept or computed, by reason."""
        ...
