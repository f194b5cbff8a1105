"""`gridwarden receiver`: a webhook receiver to try deliveries with, and to start one's own from."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import fail
from dispatch.keys import write_private
from dispatch.receiver import Receiver
from dispatch.receivers import ReceiverInvalid, read_secrets


def command(
    secret_file: Annotated[
        Path, typer.Option(help="file with the whsec_ secret; made when it is missing")
    ],
    out: Annotated[Path, typer.Option(help="received events as JSON lines; appended to")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port")] = 8090,
    as_json: Annotated[bool, typer.Option("--json", help="print counts as JSON")] = False,
) -> None:
    """Take alert events on 127.0.0.1: check signatures, count repeats, write new ones."""
    try:
        if not secret_file.exists():
            secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
            write_private(secret_file, secret.encode() + b"\n")
            print(f"made a secret in {secret_file}", file=sys.stderr)
        receiver = Receiver(read_secrets(secret_file), out, port=port, on_event=_say)
    except ReceiverInvalid as error:
        fail(str(error))
    except OSError as error:
        fail(f"port {port} or {out}: {error.strerror}; name another with --port or --out")
    except (ValueError, KeyError, TypeError):
        fail(f"{out}: holds lines that aren't received events; name another file with --out")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"receiving on {receiver.url}", file=sys.stderr, flush=True)
    try:
        receiver.run()
    except KeyboardInterrupt:
        pass
    finally:
        receiver.close()
    if as_json:
        print(json.dumps(dict(receiver.counts)))
    else:
        print(", ".join(f"{n} {name}" for name, n in receiver.counts.items()), file=sys.stderr)


def _say(event: dict[str, Any]) -> None:
    data = event["data"]
    print(
        f"{event['time']} {data['level']} {data['change']}: {data['reason']['en']}",
        file=sys.stderr,
        flush=True,
    )
