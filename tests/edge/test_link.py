"""The link's thread is woken whatever the moment at which the writer calls."""

from __future__ import annotations

import select
from contextlib import closing
from pathlib import Path
from typing import Any

from edge.clock import SystemClock
from edge.link import Link
from edge.outbox import Outbox
from edge.pack_table import Kind
from edge.settings import load

CONFIG = """[agent]
gateway = "gw"
[broker]
host = "127.0.0.1"
[outbox]
path = "outbox.db"
free_mib = 0
ballast_mib = 0
[source]
kind = "replay"
"""


class Racing:
    """The link's end of its pipe; the writer calls just before it is read."""

    def __init__(self, inner: Any, link: Link) -> None:
        self._inner, self._link, self._done = inner, link, False

    def recv(self, size: int) -> bytes:
        if not self._done:
            self._done = True
            self._link.added([(0, Kind.DATA)])
        return bytes(self._inner.recv(size))


def test_a_wake_in_the_middle_of_reading_wakes_is_not_swallowed(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(CONFIG)
    settings = load(tmp_path / "agent.toml")
    with closing(Outbox(tmp_path / "outbox.db", ["gw"], settings.outbox_limits())) as outbox:
        link = Link(
            settings, outbox, SystemClock(), on_confirm=lambda *_: None, on_resend=lambda *_: None
        )
        pipe = link._wake_out
        link.added([(0, Kind.ALARM)])
        link._wake_out = Racing(pipe, link)  # type: ignore[assignment]
        link._drain_wakes()
        link._wake_out = pipe
        assert not link._events
        link.added([(0, Kind.DATA)])
        assert select.select([pipe], [], [], 0)[0], "nobody would ever wake the link again"
        link._close()
