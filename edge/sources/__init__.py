"""Where readings come from. A source draws batches; the agent packs, stores and sends them.

A source is pulled in a thread of its own, so it may block: it paces itself with `clock.wait`
and returns from `batches` as soon as that says False. Opening one checks its options and raises
`SourceError` with one clear line (file, field, mend) when they can't work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from contracts.batch import ReadingBatch
from edge.clock import Clock


class SourceError(Exception):
    """The source can't be opened or read on; the text is one line for the person who installs."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One batch of one gateway, and where to go on after it.

    gateway: row of the `gateways` that the source was opened for. cursor: opaque bytes, at most
    64 kB; `batches(cursor)` must draw exactly the rows that follow this batch, per gateway in the
    same order (the cuts into batches may differ). None where a source can't be resumed (a live
    device bus): what it had drawn and the outbox had not yet stored is lost with the power.
    tracks: encoded tracklets of cameras (`contracts.tracklets`) that travel with these rows, in a
    pack of their own, at once; only with at least one row.
    """

    batch: ReadingBatch
    cursor: bytes | None = None
    gateway: int = 0
    tracks: bytes = b""


class Source(Protocol):
    """Draws batches at their time. Batches of 500 rows or more cost the agent the least."""

    def batches(self, resume: bytes | None) -> Iterator[Drawn]:
        """Draw from the beginning, or after `resume` (a cursor this source gave before).

        Ends when there is nothing more to come, or when `clock.wait` has said False.
        """
        ...

    def close(self) -> None: ...


Opener = Callable[[Mapping[str, Any], Clock, Sequence[str]], Source]
"""`open_source(options, clock, gateways)`: options is the config's `[source]` table without
`kind`, paths in it already absolute where they came as `*file`, `*dir` or in `recordings`."""

SOURCES: dict[str, str] = {
    "camera": "edge.camera.source",
    "replay": "edge.sources.replay",
    "simulate": "edge.sources.simulate",
}
"""Kind -> module with an `open_source` that is an `Opener`; imported only when it is asked for."""


def open_source(
    kind: str, options: Mapping[str, Any], *, clock: Clock, gateways: Sequence[str]
) -> Source:
    """Open the source of `kind`. Raises `SourceError`."""
    try:
        module = SOURCES[kind]
    except KeyError:
        known = ", ".join(sorted(SOURCES))
        raise SourceError(
            f"source.kind: no source is called {kind!r}; use one of {known}"
        ) from None
    try:
        opener: Opener = import_module(module).open_source
    except ModuleNotFoundError as error:
        raise SourceError(
            f"source.kind: {kind!r} needs {error.name}, which is not installed; "
            f"install gridwarden[{kind}]"
        ) from None
    return opener(options, clock, gateways)
