"""Whoever decodes a struct beside other threads does so with a decoder that was made at import.

msgspec 0.22 ends the process (a null pointer) when several threads are the first to decode one type
at the same moment: `decode(data, type=T)` looks `T` up when it is called for the first time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.parts.tools import ROOT

ROOMS = ("contracts", "ingest", "detectors", "rules", "dispatch", "app")
ALONE = {"app/homes.py"}
"""Of commands that have one thread."""


def late(tree: ast.Module) -> Iterator[int]:
    """Lines of calls that name a type of ours."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr != "decode":
            continue
        for keyword in node.keywords:
            names = {n.id for n in ast.walk(keyword.value) if isinstance(n, ast.Name)}
            if keyword.arg == "type" and names - {
                "dict",
                "list",
                "tuple",
                "str",
                "bytes",
                "int",
                "float",
            }:
                yield node.lineno


def found(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder).as_posix()}:{line}"
        for room in ROOMS
        for path in sorted((folder / room).rglob("*.py"))
        if path.relative_to(folder).as_posix() not in ALONE
        and not path.relative_to(folder).as_posix().startswith(("app/bench/", "app/cli/"))
        for line in late(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_decoders_of_structs_are_made_at_import() -> None:
    assert found(ROOT) == []


def test_the_rule_sees_what_it_forbids() -> None:
    tree = ast.parse("def f(b):\n    return msgspec.json.decode(b, type=list[Thing])\n")
    assert list(late(tree)) == [2]
    assert list(late(ast.parse("msgspec.json.decode(b, type=dict[str, str])"))) == []
