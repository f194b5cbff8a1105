"""What is wrong with a registry, where, and how to mend it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["error", "warning"]

FINDINGS_OF_A_KIND = 1000
"""After so many findings of one kind in one file the rest are only counted (a proposal)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `line` counts from 1; 0 = the file as a whole. `field` is a column or key."""

    file: str
    line: int
    field: str
    problem: str
    mend: str
    level: Level = "error"
    unreadable: bool = False  # the file can't be read on: nothing can be loaded

    def __str__(self) -> str:
        warning = "warning: " if self.level == "warning" else ""
        return f"{self.file}:{self.line}: {self.field}: {warning}{self.problem}; mend: {self.mend}"

    def as_dict(self) -> dict[str, str | int | bool]:
        return asdict(self)


class RegistryError(Exception):
    """A registry that can't be read at all; `findings` says why."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(str(one) for one in findings[:3]))
        self.findings = findings


class Malformed(Exception):
    """This file can't be read on; the others may."""

    def __init__(self, file: str, line: int, field: str, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.finding = Finding(file, line, field, problem, mend, unreadable=True)


class Findings:
    """Collects findings; far too many of one kind are counted, not listed."""

    def __init__(self) -> None:
        self._listed: list[Finding] = []
        self._fatal: list[Finding] = []
        self._seen: Counter[tuple[str, str, str, Level]] = Counter()

    def add(
        self,
        file: str,
        line: int,
        field: str,
        problem: str,
        mend: str,
        *,
        warning: bool = False,
        kind: str = "",
    ) -> None:
        """Record one; `kind` groups findings whose `problem` names a value."""
        level: Level = "warning" if warning else "error"
        key = (file, field, kind or problem, level)
        self._seen[key] += 1
        if self._seen[key] <= FINDINGS_OF_A_KIND:
            self._listed.append(Finding(file, line, field, problem, mend, level))

    def add_fatal(self, malformed: Malformed) -> None:
        self._fatal.append(malformed.finding)

    @property
    def fatal(self) -> list[Finding]:
        """Why a file could not be read."""
        return list(self._fatal)

    def all(self) -> list[Finding]:
        """Sorted by file and line, unreadable files first."""
        more = [
            Finding(file, 0, field, f"{count - FINDINGS_OF_A_KIND} more: {kind}", "as above", level)
            for (file, field, kind, level), count in self._seen.items()
            if count > FINDINGS_OF_A_KIND
        ]
        ordered = sorted(self._listed + more, key=lambda one: (one.file, one.line, one.field))
        return self._fatal + ordered
