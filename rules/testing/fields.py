"""What the parts of a test file have in common: words, times, and whom they speak of."""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from rules.document import Reader
from rules.durations import parse_duration
from rules.finding import suggest
from rules.testing.case import Device
from rules.testing.times import parse_offset

Found = dict[str, tuple[yaml.Node, yaml.Node]]


@dataclass(slots=True)
class Draft:
    """What is known of a test while it is read."""

    path: str
    devices: dict[str, Device]
    start_ms: int
    interval_ms: int
    rule: str = ""
    device: str = ""
    gateways: set[str] = field(default_factory=set)


class Fields:
    """Reads single values; faults go to the reader."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def word(self, found: Found, key: str, path: str) -> str:
        return self.reader.text(found[key][1], f"{path}.{key}") if key in found else ""

    def duration(self, found: Found, key: str, path: str) -> int | None:
        node, at = found[key][1], f"{path}.{key}" if path else key
        text = self.reader.text(node, at)
        span_ms = parse_duration(text)
        if span_ms is None and text:
            self.reader.fault(node, at, f"{text!r} is no duration", "write 500ms, 10s or 1m30s")
        return span_ms

    def offset(self, node: yaml.Node, path: str) -> int:
        text = self.reader.text(node, path)
        at_ms = parse_offset(text)
        if at_ms is None and text:
            mend = "write the time from the start of the test: 0s, 90s, 1m30s"
            self.reader.fault(node, path, f"{text!r} is no time", mend)
        return at_ms or 0

    def known_device(self, node: yaml.Node, draft: Draft, path: str, name: str) -> bool:
        if name in draft.devices:
            return True
        mend = suggest(name, draft.devices) or "name it in devices:"
        self.reader.fault(node, path, f"no device {name} in this test", mend)
        return False

    def whose(self, found: Found, node: yaml.Node, path: str, draft: Draft) -> str:
        name = self.word(found, "device", path) or draft.device
        if not name:
            self.reader.fault(node, f"{path}.device", "device is missing", "add device:")
        return name
