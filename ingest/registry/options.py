"""registry.toml: how a city writes its codes. Every key has a default; unknown keys are refused.

[codes]
lengths = [6, 9, 12, 15]    # digits at district, street, community, grid
dedicated_marker = ""       # regular expression that a dedicated grid's own part matches
province_check = true       # first two digits are those of a province

[time]
utc_offset = "+08:00"       # of dates without a time zone
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

from contracts.registry import CodeScheme
from ingest.registry.findings import Malformed

FILE = "registry.toml"
_OFFSET = re.compile(r"([+-])([01][0-9]|2[0-3]):([0-5][0-9])")
_KEYS = {"codes": {"lengths", "dedicated_marker", "province_check"}, "time": {"utc_offset"}}


_CHINA = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Options:
    scheme: CodeScheme = field(default_factory=CodeScheme)
    province_check: bool = True
    zone: timezone = _CHINA


def read_options(path: Path) -> Options:
    """Read registry.toml; defaults when it isn't there. Raises `Malformed`."""
    if not path.exists():
        return Options()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(FILE, 0, "file", str(error), "save it as UTF-8") from None
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        at = int(line[1]) if line else text.count("\n") + 1
        raise Malformed(FILE, at, "toml", str(error), "write it as TOML") from None
    for section, keys in whole.items():
        unknown = set(keys) - _KEYS[section] if section in _KEYS and _table(keys) else {section}
        if unknown:
            known = ", ".join(f"{s}.{k}" for s, names in _KEYS.items() for k in sorted(names))
            name = sorted(unknown)[0]
            raise Malformed(FILE, 0, name, "unknown key", f"known are {known}")
    codes, time = whole.get("codes", {}), whole.get("time", {})
    check = codes.get("province_check", True)
    if not isinstance(check, bool):
        raise Malformed(FILE, 0, "codes.province_check", "no boolean", "write true or false")
    return Options(
        CodeScheme(_lengths(codes), _marker(codes)), check, _zone(time.get("utc_offset", "+08:00"))
    )


def _table(value: object) -> bool:
    return isinstance(value, dict)


def _lengths(codes: dict[str, Any]) -> tuple[int, int, int, int]:
    lengths = codes.get("lengths", [6, 9, 12, 15])
    whole = isinstance(lengths, list) and [type(one) for one in lengths] == [int] * 4
    if not whole or sorted(set(lengths)) != lengths or lengths[0] < 1 or lengths[-1] > 32:
        mend = "write four rising numbers up to 32, as [6, 9, 12, 15]"
        raise Malformed(FILE, 0, "codes.lengths", f"{lengths!r}", mend)
    return lengths[0], lengths[1], lengths[2], lengths[3]


def _marker(codes: dict[str, Any]) -> str:
    marker = codes.get("dedicated_marker", "")
    try:
        re.compile(marker)
    except (re.error, TypeError) as error:
        mend = "write a regular expression in quotes"
        raise Malformed(FILE, 0, "codes.dedicated_marker", str(error), mend) from None
    return str(marker)


def _zone(offset: object) -> timezone:
    found = _OFFSET.fullmatch(offset) if isinstance(offset, str) else None
    if found is None:
        raise Malformed(FILE, 0, "time.utc_offset", f"{offset!r}", 'write it as "+08:00"')
    span = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(span if found[1] == "+" else -span)
