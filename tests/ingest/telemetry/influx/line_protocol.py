"""A parser of InfluxDB line protocol, written from its specification, letter by letter.

Source: InfluxDB OSS v2, "Line protocol": measurement and tags end at the first space that no
backslash precedes; commas, equals signs and spaces in tag keys and values are escaped.
"""

from __future__ import annotations

from typing import NamedTuple


class Point(NamedTuple):
    measurement: str
    tags: dict[str, str]
    fields: dict[str, float | int]
    ts_ms: int


def parse(data: bytes) -> list[Point]:
    text = data.decode()
    assert text == "" or text.endswith("\n")
    return [_point(line) for line in text.split("\n")[:-1]]


def _point(line: str) -> Point:
    head, fields, ts = _split(line, " ")
    measurement, *tags = _split(head, ",")
    return Point(measurement, _pairs(tags), _fields(fields), int(ts))


def _pairs(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, value = _split(text, "=")
        assert key not in found
        assert value
        found[_plain(key)] = _plain(value)
    return found


def _fields(text: str) -> dict[str, float | int]:
    found: dict[str, float | int] = {}
    for part in _split(text, ","):
        key, value = _split(part, "=")
        assert key not in found, "a field twice in a line"
        found[_plain(key)] = int(value[:-1]) if value.endswith("i") else float(value)
    return found


def _split(text: str, at: str) -> list[str]:
    parts, part, escaped = [], "", False
    for letter in text:
        if escaped:
            part += "\\" + letter
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == at:
            parts.append(part)
            part = ""
        else:
            part += letter
    return [*parts, part + "\\" * escaped]


def _plain(text: str) -> str:
    for letter in ",= ":
        text = text.replace("\\" + letter, letter)
    return text
