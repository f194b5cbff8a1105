"""`gridwarden schema`: write docs/schema from the types, or check that it is up to date."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from contracts.schema import asyncapi, schemas
from rules.editor_schema import json_schema
from rules.testing import editor_schema as test_schema

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schema"


def documents() -> dict[str, str]:
    """File name -> its text."""
    found = {f"{name}.json": schema for name, schema in schemas().items()}
    found["asyncapi.json"] = asyncapi(version("gridwarden"))
    found["rules.schema.json"] = json_schema()
    found[test_schema.NAME] = test_schema.json_schema()
    return {
        name: json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        for name, document in found.items()
    }


def main(check: bool, folder: Path = FOLDER) -> int:
    """Write the documents into `folder`; with `check`, compare them instead.

    Returns 0, or 1 when `check` finds one that is stale, missing or no longer made. Files are
    named on stderr. Needs a checkout: an installed wheel has no docs.
    """
    wanted = documents()
    if not check:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in wanted.items():
            (folder / name).write_text(text, encoding="utf-8")
    there = {path.name for path in folder.glob("*.json")}
    stale = sorted(there - wanted.keys())
    for name, text in wanted.items():
        path = folder / name
        if name not in there or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        mend = "run `gridwarden schema`" if name in wanted else "nothing makes it: remove it"
        print(f"docs/schema/{name}: stale; mend: {mend}", file=sys.stderr)
    return 1 if stale else 0
