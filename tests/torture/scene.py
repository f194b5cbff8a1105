"""Broker, receiver and server as processes, for tests that bring their own gateways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.parts.mosquitto import Mosquitto
from tests.torture.district import write_registry, write_rules
from tests.torture.processes import Agent, Receiver, Server


@dataclass
class Scene:
    folder: Path
    broker: Mosquitto
    receiver: Receiver
    server: Server
    stack: ExitStack

    def agent(self, gateway: str, recording: Path, **options: object) -> Agent:
        """Start an agent; `options` as of `Agent`."""
        settings = {"broker_port": self.broker.port} | options
        agent = Agent(self.folder / "agents", gateway, recording, **settings)  # type: ignore[arg-type]
        self.stack.callback(agent.discard)
        agent.start()
        return agent


@contextmanager
def scene(
    folder: Path,
    gateways: Sequence[str],
    *,
    rules: str = "",
    lasting: bool = True,
    desk: type[Receiver] = Receiver,
    **server: object,
) -> Iterator[Scene]:
    """All up. rules: more of them, as YAML. desk: the receiver's kind. server: as of `Server`."""
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker", lasting=lasting))
        receiver = desk(folder / "receiver")
        stack.callback(receiver.discard)
        receiver.start()
        made = Server(
            folder / "server",
            broker_port=broker.port,
            registry=write_registry(folder / "registry", gateways),
            rules=write_rules(folder / "rules", rules),
            receiver=receiver,
            **server,  # type: ignore[arg-type]
        )
        stack.callback(made.discard)
        receiver.up()
        made.start()
        made.up()
        yield Scene(folder, broker, receiver, made, stack)
