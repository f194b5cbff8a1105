"""The API and the page over real HTTP, with a lifecycle in place of the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from contracts.alerts import AlertEvent
from contracts.messages import OperatorCommand
from contracts.transitions import TransitionBatch
from dispatch.api import create_api
from dispatch.deliver.live import Broadcaster
from dispatch.keys import KeyRing
from dispatch.lifecycle import Lifecycle
from dispatch.store import Store
from tests.dispatch import scene
from tests.dispatch.conftest import until
from tests.dispatch.scene import T0, S
from tests.parts.tools import ROOT

PAGE = ROOT / "app" / "console"


@dataclass
class Desk:
    """What a served API stands on. Commands take effect at once, as if the log had them."""

    store: Store
    live: Broadcaster
    keys: KeyRing
    life: Lifecycle
    url: str = ""
    submitted: list[OperatorCommand] = field(default_factory=list)
    state: dict[str, object] = field(default_factory=lambda: {"ok": True, "ready": True})
    lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, transitions: TransitionBatch) -> list[AlertEvent]:
        with self.lock:
            events = self.life.apply(transitions)
            self.store.record(events, 1)
        return events

    def submit(self, command: OperatorCommand) -> None:
        with self.lock:
            self.submitted.append(command)
            self.store.record(self.life.command(command, T0 + 60 * S)[0], 2)


@contextmanager
def serving(store: Store, folder: Path) -> Iterator[Desk]:
    desk = Desk(store, Broadcaster(), KeyRing(folder / "keys.json"), scene.lifecycle())
    store.subscribe(desk.live.publish)
    api = create_api(
        store,
        desk.submit,
        desk.live,
        lambda: desk.state,
        lambda: b"# metrics\n",
        desk.keys,
        PAGE,
        enable=lambda name: name == "desk",
    )
    config = uvicorn.Config(
        api, host="127.0.0.1", port=0, log_level="warning", lifespan="off", access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the server is up")
        port = server.servers[0].sockets[0].getsockname()[1]
        desk.url = f"http://127.0.0.1:{port}"
        yield desk
    finally:
        desk.live.close()
        server.should_exit = True
        thread.join()
