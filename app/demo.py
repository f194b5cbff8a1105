"""The demonstration: a simulated district, its registry, and an agent that speaks for it.

The agent is the shipped one in a process of its own, over the real broker: what a visitor sees
is the path that a site uses. All readings are simulated, and the page says so.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from app.children import start_child
from edge.sources.simulate import demo_district, write_registry

SEED = 1


def prepare_registry(folder: Path, seed: int = SEED) -> Path:
    """Write the simulated district's registry below `folder`; returns its folder."""
    registry = folder / "registry"
    registry.mkdir(parents=True, exist_ok=True)
    write_registry(registry, demo_district(seed))
    return registry


class DemoAgent:
    """The agent's process."""

    def __init__(self, folder: Path, mqtt_port: int, seed: int = SEED) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        district = demo_district(seed)
        self._config = folder / "agent.toml"
        names = ", ".join(f'"{name}"' for name in district.gateways)
        self._config.write_text(
            f"""[agent]
gateways = [{names}]
[broker]
host = "127.0.0.1"
port = {mqtt_port}
[outbox]
path = "outbox.db"
limit_mib = 64
[source]
kind = "simulate"
profile = "demo"
seed = {seed}
first_incident_s = 5
truth_file = "truth.jsonl"
""",
            encoding="utf-8",
        )
        self._log = folder / "agent.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = start_child(
            [sys.executable, "-m", "app", "edge", "run", "--config", str(self._config)], self._log
        )

    def ended(self) -> str:
        """Why it isn't running, "" while it is."""
        if self._process is None or self._process.poll() is None:
            return ""
        return f"the simulated agent ended (status {self._process.returncode}); see {self._log}"

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
