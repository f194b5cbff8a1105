"""Characters of a Chinese keyboard where YAML and expressions need ASCII ones."""

from __future__ import annotations

import re
import unicodedata

import yaml

_ASCII = {
    "≤": "<=",
    "≦": "<=",
    "≥": ">=",
    "≧": ">=",
    "≠": "!=",
    "＝": "==",
    "×": "*",
    "÷": "/",
    "−": "-",
    "–": "-",
    "、": ",",
    "。": ".",
    "＆": "and",
    "｜": "or",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "「": '"',
    "」": '"',
}
_QUOTES = "“”‘’「」『』＂＇"

_HALF = re.compile("([＜＞！<>!＝=])＝")
"""Operators of two characters."""

_KEY = re.compile(r"(?:^\s*(?:-\s+)*|[{,，]\s*)([A-Za-z_][\w.]*)\s*：")
_CLOSE_KEY = re.compile(r"^\s*(?:-\s+)*([A-Za-z_][\w.]*):[^\s:]")
_COMMA = re.compile(r"，\s*[A-Za-z_][\w.]*\s*[:：]")
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""Ends of lines as YAML counts them."""

_LOOK_BACK = 3
"""Lines before the one at which YAML gave up."""

_MENDS = (
    ("'\\t'", "indent with blanks, never with tabs"),
    ("mapping values are not allowed", "put quotes around a text that holds ': ', or indent it"),
    ("could not find expected ':'", "write key: value, with a blank behind the colon"),
    ("stream end", "close the quote or the bracket"),
    ("unexpected end of stream", "close the quote or the bracket"),
    ("undefined alias", "write &name at a value before *name"),
    ("block end", "give keys that belong together the same indentation"),
)
_ANY_MEND = "look at indentation, quotes and brackets of this line and the one before"


def ascii_of(character: str) -> str:
    """What to write instead; "" where there is nothing.

    >>> ascii_of("＜"), ascii_of("≤"), ascii_of("低")
    ('<', '<=', '')
    """
    if character.isascii():
        return ""
    found = _ASCII.get(character) or unicodedata.normalize("NFKC", character)
    return found if found.isascii() else ""


def in_ascii(text: str) -> str:
    """The text with all that has an ASCII spelling in it.

    >>> in_ascii("co2 ＞ １．５"), in_ascii("co2 ＞＝ 1")
    ('co2 > 1.5', 'co2 >= 1')
    """
    text = _HALF.sub(r"\1=", text)
    return "".join(ascii_of(character) or character for character in text)


def in_quotes(text: str) -> bool:
    """Whether a word begins or ends with a quotation mark that YAML doesn't know as one."""
    return bool(text) and (text[0] in _QUOTES or text[-1] in _QUOTES)


def wide_colon(line: str) -> str:
    """The key before a full-width colon; "" where there is none.

    >>> wide_colon("  - when：co2 > 2"), wide_colon("zh: 注意：低")
    ('when', '')
    """
    found = _KEY.search(line)
    return "" if found is None else found[1]


def yaml_fault(text: str, error: yaml.YAMLError) -> tuple[int, str, str]:
    """(line from 1, problem, mend) of a text that is no YAML."""
    if not isinstance(error, yaml.MarkedYAMLError):
        position = getattr(error, "position", None)
        line = 0 if position is None else text.count("\n", 0, position) + 1
        return line, f"no YAML: {str(error).splitlines()[0]}", "take the character out"
    marks = [mark for mark in (error.problem_mark, error.context_mark) if mark is not None]
    if not marks:
        return 0, f"no YAML: {error.problem or error.context}", _ANY_MEND
    at = marks[0].line
    first = max(0, min(at - _LOOK_BACK, *(mark.line for mark in marks)))
    lines = _BREAK.split(text)
    for number in range(min(at, len(lines) - 1), first - 1, -1):
        slip = _slip(lines[number])
        if slip is not None:
            return number + 1, *slip
    problem = error.problem or error.context or ""
    mend = next((mend for part, mend in _MENDS if part in problem), _ANY_MEND)
    return at + 1, f"no YAML: {problem}", mend


def _slip(line: str) -> tuple[str, str] | None:
    """(problem, mend) of one line near the fault."""
    key = wide_colon(line)
    if key:
        return f"no YAML: a full-width colon ： behind {key}", f"write {key}: and a blank"
    if _COMMA.search(line):
        return "no YAML: a full-width comma ， between keys", "write , and a blank"
    close = _CLOSE_KEY.search(line)
    if close:
        return f"no YAML: no blank behind {close[1]}:", f"write {close[1]}: and a blank"
    return None
