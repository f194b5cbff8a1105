"""Text to syntax tree. The grammar leaves room: calls take any arguments, the check knows names."""

from __future__ import annotations

from functools import cache

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import UnexpectedEOF

from rules.expr.syntax import (
    Arithmetic,
    Call,
    Comparison,
    ExpressionError,
    Joined,
    Membership,
    Name,
    Negative,
    Node,
    Not,
    Number,
    Quoted,
)
from rules.spelling import ascii_of, in_ascii

GRAMMAR = r"""
?start: either
?either: both ("or" both)*
?both: negation ("and" negation)*
?negation: NOT negation -> negate
    | comparison
?comparison: sum
    | sum COMPARE sum -> compare
    | sum IN "[" choice ("," choice)* "]" -> among
    | sum NOT IN "[" choice ("," choice)* "]" -> not_among
?choice: atom
?sum: product
    | sum ADD product -> arithmetic
?product: atom
    | product MULTIPLY atom -> arithmetic
?atom: NUMBER UNIT? -> number
    | QUOTED -> quoted
    | NAME -> name
    | NAME "(" [either ("," either)*] ")" -> call
    | ADD atom -> signed
    | "(" either ")"

COMPARE: "<=" | ">=" | "==" | "!=" | "<" | ">"
ADD: "+" | "-"
MULTIPLY: "*" | "/"
NOT: "not"
IN: "in"
NUMBER: /[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?/
UNIT: /[A-Za-z%°℃][A-Za-z0-9³]*(\/[A-Za-z0-9³]+)?/
NAME: /[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*/
QUOTED: /"[^"]*"|'[^']*'/
%import common.WS
%ignore WS
"""

LONGEST = 2_000
"""Characters of one expression."""

DEEPEST = 50
"""Parentheses inside each other."""


def parse(text: str) -> Node:
    """Raises `ExpressionError`."""
    if len(text) > LONGEST:
        raise ExpressionError(f"longer than {LONGEST} characters", 1, "split the rule")
    if text.count("(") > DEEPEST:
        raise ExpressionError(f"more than {DEEPEST} parentheses", 1, "split the rule")
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _explained(text, error) from None
    node: Node = _Builder().transform(tree)
    return node


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer="contextual", propagate_positions=True)


def _explained(text: str, error: UnexpectedInput) -> ExpressionError:
    at = error.column if isinstance(error.column, int) and error.column > 0 else len(text) + 1
    token = getattr(error, "token", None)
    if isinstance(error, UnexpectedEOF) or (token is not None and token.type == "$END"):
        return ExpressionError("the expression ends too early", len(text) + 1)
    rest = text[at - 1 :]
    if ascii_of(rest[:1]):
        return ExpressionError(f"{rest[0]} is no ASCII character", at, f"write {in_ascii(text)}")
    if rest.startswith("="):
        return ExpressionError("a single = compares nothing", at, "write ==")
    if rest.startswith(("&&", "||", "!")):
        return ExpressionError(f"can't read {rest[:2]!r}", at, "write and, or, not")
    if token is not None and token.type == "COMPARE":
        mend = "write a < b and b < c"
        return ExpressionError("comparisons can't be chained", at, mend)
    return ExpressionError(f"can't read {rest[:20]!r}", at)


@v_args(inline=True)
class _Builder(Transformer[Token, Node]):
    """Each method is named after an alias of the grammar."""

    def number(self, digits: Token, unit: Token | None = None) -> Node:
        return Number(str(digits), "" if unit is None else str(unit), _at(digits))

    def quoted(self, token: Token) -> Node:
        return Quoted(str(token)[1:-1], _at(token))

    def name(self, token: Token) -> Node:
        return Name(str(token), _at(token))

    def call(self, name: Token, *arguments: Node | None) -> Node:
        given = tuple(argument for argument in arguments if argument is not None)
        return Call(str(name), given, _at(name))

    def signed(self, sign: Token, operand: Node) -> Node:
        return operand if sign == "+" else Negative(operand, _at(sign))

    def arithmetic(self, left: Node, operator: Token, right: Node) -> Node:
        return Arithmetic(str(operator), left, right, _at(operator))

    def compare(self, left: Node, operator: Token, right: Node) -> Node:
        return Comparison(str(operator), left, right, _at(operator))

    def among(self, item: Node, word: Token, *choices: Node) -> Node:
        return Membership(item, choices, False, _at(word))

    def not_among(self, item: Node, word: Token, _in: Token, *choices: Node) -> Node:
        return Membership(item, choices, True, _at(word))

    def negate(self, word: Token, operand: Node) -> Node:
        return Not(operand, _at(word))

    def both(self, *parts: Node) -> Node:
        return Joined("and", parts, parts[0].at)

    def either(self, *parts: Node) -> Node:
        return Joined("or", parts, parts[0].at)


def _at(token: Token) -> int:
    return token.column or 1
