"""What the documents say about the tree is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.parts.tools import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
DECISIONS = sorted(ROOT.glob("docs/adr/*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    targets = [link.partition("#")[0] for link in LINK.findall(text)]
    inside = [target for target in targets if target and "://" not in target]

    broken = [target for target in inside if not (document.parent / target).exists()]

    assert not broken


def test_decisions_are_numbered_without_holes() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]

    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("decision", DECISIONS, ids=named)
def test_a_decision_has_its_parts(decision: Path) -> None:
    text = decision.read_text(encoding="utf-8")

    assert text.startswith(f"# {decision.name[:4]} ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[:3] == [
        "Context",
        "Decision",
        "Alternatives",
    ]


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = {"Always": project["dependencies"], **project["optional-dependencies"]}
    wanted = {
        extra: {re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in lines} - {project["name"]}
        for extra, lines in lists.items()
    }

    assert reasons() == wanted


def reasons() -> dict[str, set[str]]:
    """Section -> packages that docs/dependencies.md lists with a reason and a licence."""
    found: dict[str, set[str]] = {}
    section = ""
    for line in (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:].partition(":")[0].strip("`")
        elif line.startswith("| ") and section != "Outside Python":
            name, reason, licence = (cell.strip() for cell in line.strip("|").split("|"))
            if name != "package" and reason and licence:
                found.setdefault(section, set()).add(name)
    return found
