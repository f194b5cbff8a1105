"""The syntax tree of an expression, as written. `at` is the column in the text, from 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Number:
    """digits: as written. unit: as written, "" = none."""

    digits: str
    unit: str
    at: int


@dataclass(frozen=True, slots=True)
class Quoted:
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[Node, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Negative:
    operand: Node
    at: int


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """operator: + - * /."""

    operator: str
    left: Node
    right: Node
    at: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """operator: < <= > >= == !=."""

    operator: str
    left: Node
    right: Node
    at: int


@dataclass(frozen=True, slots=True)
class Membership:
    item: Node
    choices: tuple[Node, ...]
    negated: bool
    at: int


@dataclass(frozen=True, slots=True)
class Not:
    operand: Node
    at: int


@dataclass(frozen=True, slots=True)
class Joined:
    """operator: "and" or "or"."""

    operator: str
    parts: tuple[Node, ...]
    at: int


Node: TypeAlias = (
    Number | Quoted | Name | Call | Negative | Arithmetic | Comparison | Membership | Not | Joined
)


class ExpressionError(Exception):
    """An expression that can't be used. at: column from 1."""

    def __init__(self, problem: str, at: int, mend: str = "") -> None:
        super().__init__(problem)
        self.problem, self.at, self.mend = problem, at, mend
