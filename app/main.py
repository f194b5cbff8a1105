"""The `gridwarden` command.

The agent's verb is looked at first and imports no command-line stack: it runs on small boxes
and is installed without one (extra `edge`). Everything else is in `app.cli.root`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Run one verb and leave with its status: 0 fine, 1 findings, 2 wrong use."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["edge"]:
        from app.cli.edge import main as edge_main

        sys.exit(edge_main(arguments[1:]))
    try:
        from app.cli.root import build

        app = build(arguments[0] if arguments else "")
    except ModuleNotFoundError as error:
        print(
            f"gridwarden: {error.name} is not installed: this is the gateway's installation, "
            "which has `edge run` only; install gridwarden[server] for the rest",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(_run(app, arguments))


def _run(app: Callable[..., Any], arguments: list[str]) -> int:
    """The status. What the parser has to say is one line, as all our own lines are."""
    try:
        return int(app(arguments, prog_name="gridwarden", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        told = getattr(error, "format_message", None)
        if told is None:
            raise
        if told():  # Without a text it has shown the help.
            print(f"gridwarden: {' '.join(told().split())} (see --help)", file=sys.stderr)
        return 2
