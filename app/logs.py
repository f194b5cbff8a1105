"""Structured logs: one JSON line an entry, or for people on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

import structlog

_SECRET = ("password", "secret", "token", "key", "authorization")


def setup(*, pretty: bool) -> None:
    """Call once, before anything logs."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    # It logs the address of every request, which may hold what a receiver keeps secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _no_secrets,
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def _no_secrets(_: Any, __: str, entry: Any) -> Any:
    for name in entry:
        if any(word in name.lower() for word in _SECRET):
            entry[name] = "***"
    return entry


def logger(name: str) -> structlog.stdlib.BoundLogger:
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(room=name))
