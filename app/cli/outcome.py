"""How verbs end: one clear line on stderr, and the status that scripts read."""

from __future__ import annotations

import sys
from typing import NoReturn

WRONG_USE = 2
FINDINGS = 1


def fail(line: str, status: int = WRONG_USE) -> NoReturn:
    """Leave with one clear line."""
    print(f"gridwarden: {line}", file=sys.stderr)
    sys.exit(status)
