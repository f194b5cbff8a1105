"""Results as JUnit XML, which CI systems show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class Line:
    """problems: empty = it passed."""

    file: str
    line: int
    name: str
    problems: tuple[str, ...]


def junit(lines: Iterable[Line]) -> bytes:
    """The document, one suite per file."""
    listed = list(lines)
    top = ElementTree.Element(
        "testsuites", attrib={"name": "gridwarden rules test"} | _counts(listed)
    )
    for file in dict.fromkeys(line.file for line in listed):
        mine = [line for line in listed if line.file == file]
        suite = ElementTree.SubElement(top, "testsuite", attrib={"name": file} | _counts(mine))
        for line in mine:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=file,
                name=_clean(line.name),
                file=file,
                line=str(line.line),
            )
            if line.problems:
                failure = ElementTree.SubElement(case, "failure", message=_clean(line.problems[0]))
                failure.text = _clean("\n".join(line.problems))
    ElementTree.indent(top)
    document: bytes = ElementTree.tostring(top, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _counts(lines: list[Line]) -> dict[str, str]:
    failures = sum(bool(line.problems) for line in lines)
    return {"tests": str(len(lines)), "failures": str(failures), "errors": "0", "skipped": "0"}


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)
