"""What is wrong with a rule file, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One fault of one file.

    line: from 1, 0 = the file as a whole. path: where in the document, as `rules[0].when`.
    problem: what is wrong. mend: what to write instead.
    """

    file: str
    line: int
    path: str
    problem: str
    mend: str = ""

    def __str__(self) -> str:
        at = f"{self.path}: " if self.path else ""
        text = f"{self.file}:{self.line}: {at}{self.problem}"
        return f"{text}; mend: {self.mend}" if self.mend else text


class RulesInvalid(Exception):
    """Rule files that can't be run; carries every finding, sorted by file and line."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(sorted(findings))
        super().__init__("\n".join(str(finding) for finding in self.findings))


def suggest(word: str, known: Iterable[str]) -> str:
    """A mend for a misspelling.

    >>> suggest("severty", ["severity", "when"])
    'did you mean severity?'
    """
    choices = sorted(known)
    folded = {choice.lower(): choice for choice in choices}
    if word.lower() in folded:
        return f"did you mean {folded[word.lower()]}?"
    close = get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(choices)}" if len(choices) <= 24 else ""
