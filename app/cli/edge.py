"""`gridwarden edge run`: the gateway agent. Imports no CLI stack, so that it stays small."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from edge.agent import Agent, open_agent
from edge.outbox_file import OutboxDamaged, OutboxError
from edge.settings import Settings, SettingsError, load
from edge.sources import SourceError

OPEN_AGAIN_S = 2.0

log = logging.getLogger("gridwarden.edge")


def run(config_path: str | Path) -> int:
    """Run the agent until SIGTERM or SIGINT. 0 = stopped as asked, 1 = failed (start it again),
    2 = wrong use, with one clear line on stderr."""
    try:
        settings = load(Path(config_path))
        _log_to_stderr(settings)
        return _run(settings)
    except (SettingsError, SourceError, OutboxError) as error:
        print(f"gridwarden edge run: {error}", file=sys.stderr)
        return 2


def _run(settings: Settings) -> int:
    stopping: list[int] = []
    opened: list[Agent] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)
        for agent in opened:
            agent.ask_to_stop()

    def again() -> bool:
        time.sleep(OPEN_AGAIN_S)
        return not stopping

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    agent = open_agent(settings, again=again)
    if agent is None:
        return 0
    opened.append(agent)
    if stopping:
        agent.ask_to_stop()
    try:
        agent.run()
    except SourceError:
        raise
    except OutboxDamaged as damage:
        log.error("outbox damaged why=%r; it is moved aside at the next start", str(damage))
        return 1
    except Exception:
        log.exception("agent failed")
        return 1
    return 0


def _log_to_stderr(settings: Settings) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.agent.log.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`edge run --config FILE`, for callers that have taken `edge` off already."""
    parser = argparse.ArgumentParser(prog="gridwarden edge", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser("run", help="run the gateway agent")
    verb.add_argument("--config", required=True, metavar="FILE", help="TOML; see docs/gateway.md")
    return run(parser.parse_args(argv).config)


if __name__ == "__main__":
    raise SystemExit(main())
