"""kill -9 of a dispatcher under way: everything arrives, repeats only under the same id."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from dispatch.receiver import Receiver
from dispatch.receivers import Filter
from dispatch.store import Store
from tests.dispatch import scene
from tests.dispatch.conftest import SECRET, until

EVENTS = 300
KILLS = 6

CHILD = """
import sys, threading
from pathlib import Path
from dispatch.deliver.webhook import WebhookSender
from dispatch.dispatcher import Dispatcher, Pulse
from dispatch.receivers import Filter, Webhook
from dispatch.store import Store

store = Store(Path(sys.argv[1]))
store.set_receivers({"desk": Filter()})
sender = WebhookSender(Webhook("desk", sys.argv[2], (bytes(range(32)),)))
Dispatcher(store, {"desk": sender}, pulse=lambda: Pulse(1, 0)).start()
print("started", flush=True)
threading.Event().wait()
"""


def test_kill_9_of_the_dispatcher_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.db"
    store = Store(path)
    store.set_receivers({"desk": Filter()})
    events = [scene.fire(), *scene.flood(EVENTS - 1)]
    store.record(events, 1)
    receiver = Receiver([SECRET], tmp_path / "received.jsonl", rehearse=_slow)
    receiver.start()
    dice = random.Random(4)

    for _ in range(KILLS):
        before = receiver.counts["received"]
        child = _dispatcher(path, receiver.url)
        until(lambda seen=before: receiver.counts["received"] > seen, "deliveries under way")
        time.sleep(dice.uniform(0, 0.05))  # Where in its work it is hit.
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert receiver.counts["received"] < EVENTS, "killed too late to prove anything"
    child = _dispatcher(path, receiver.url)
    until(lambda: store.queries.receivers()[0]["open"] == 0, "all delivered")
    child.kill()
    child.wait()
    receiver.close()
    store.close()

    lines = (tmp_path / "received.jsonl").read_text().splitlines()
    got = [json.loads(line)["id"] for line in lines]
    assert sorted(got) == sorted(event.id for event in events)
    assert receiver.counts["refused"] == 0


def _slow(event: dict[str, object]) -> None:
    """Long enough that a kill meets requests under way."""
    del event
    time.sleep(0.004)


def _dispatcher(path: Path, url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), url], stdout=subprocess.DEVNULL
    )


def test_a_receiver_knows_after_a_kill_what_it_has(tmp_path: Path) -> None:
    """Its file is cut at every byte of the last line; a repeat is taken once all the same."""
    out = tmp_path / "received.jsonl"
    first = json.dumps({"id": "a-1", "received_ms": 1, "event": {}}) + "\n"
    second = json.dumps({"id": "b-1", "received_ms": 2, "event": {}}) + "\n"
    for cut in range(len(second) + 1):
        out.write_text(first + second[:cut])
        receiver = Receiver([SECRET], out)
        known = set(receiver._known)
        receiver._server.server_close()
        receiver._out.close()

        assert known == ({"a-1", "b-1"} if cut == len(second) else {"a-1"})
        assert out.read_text() in (first, first + second)
