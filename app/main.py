"""The `gridwarden` command.

The agent's verb is looked at first and imports no command-line stack: it runs on small boxes
and is installed without one (extra `edge`). Everything else is in `app.cli.root`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run one verb and leave with its status: 0 fine, 1 findings, 2 wrong use."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["edge"]:
        from app.cli.edge import main as edge_main

        sys.exit(edge_main(arguments[1:]))
    try:
        from app.cli.root import app
    except ModuleNotFoundError as error:
        print(
            f"gridwarden: {error.name} is not installed: this is the gateway's installation, "
            "which has `edge run` only; install gridwarden[server] for the rest",
            file=sys.stderr,
        )
        sys.exit(2)
    app()
