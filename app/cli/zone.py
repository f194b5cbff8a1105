"""`--zone`: in which local time people read what a command prints."""

from __future__ import annotations

from app.cli.outcome import fail
from rules.finding import suggest
from rules.zones import Zone, zone, zone_names


def zone_named(name: str) -> Zone:
    """The zone; ends the command where there is none of that name."""
    if name not in zone_names():
        close = suggest(name, zone_names())
        fail(f"--zone {name}: no such time zone; {close or 'write it as Asia/Shanghai'}")
    return zone(name)
