"""Threads that fail loud: one that ends by an exception ends the process, with its name."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog


class Failure:
    """The first thread that failed, and what waits for one to fail."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.what = ""

    def report(self, what: str) -> None:
        self.what = self.what or what
        self.stopping.set()


def spawn(
    name: str, body: Callable[[], None], failure: Failure, log: structlog.stdlib.BoundLogger
) -> threading.Thread:
    """Start `body` as a daemon thread; its exception is logged and stops everything."""

    def run() -> None:
        try:
            body()
        except BaseException:
            log.exception("thread failed", thread=name)
            failure.report(f"{name} failed")

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
