"""What signals ask a running verb for. Handlers take no lock: setting an event would wait forever
for the very thread that the handler interrupted while it held the event's lock."""

from __future__ import annotations

import signal
import sys
from types import FrameType


class Asked:
    """SIGHUP reloads as a service (`systemctl reload`), and is kept while the verb starts; at a
    terminal it still ends with the terminal."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        if not sys.stdin.isatty():
            signal.signal(signal.SIGHUP, self.to_reload)

    def listen_for_the_end(self) -> None:
        """SIGINT and SIGTERM stop in good order. Until then they end a start at once."""
        signal.signal(signal.SIGINT, self.to_stop)
        signal.signal(signal.SIGTERM, self.to_stop)

    def to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop = True

    def to_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload = True
