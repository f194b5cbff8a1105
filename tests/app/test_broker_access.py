"""TLS, names and passwords to a real broker with the shipped configuration and access list."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.guarded_broker import Authority, GuardedMosquitto
from tests.torture.account import compare, logged
from tests.torture.district import FIRE_RULE, Recording, record, write_registry, write_rules
from tests.torture.packs import now_ms
from tests.torture.processes import Agent, Part, Receiver, Server, until

pytestmark = pytest.mark.broker

SECRETS = {"ingest": "right-for-ingest-7Q", "gw-1": "right-for-gw-4Z"}
WRONG = "not-the-password-9X"


@dataclass
class Site:
    """A broker, and servers and agents that find it in their own way."""

    folder: Path
    stack: ExitStack
    authority: Authority
    stranger: Authority
    broker: GuardedMosquitto
    receiver: Receiver
    recording: Recording

    def _access(self, user: str, *, password: str = "", ca: Path | None = None) -> str:
        secret = self.folder / f"{user}-{'wrong' if password else 'right'}.secret"
        secret.write_text((password or SECRETS[user]) + "\n")
        return (
            f'tls = true\nca_file = "{ca or self.authority.file}"\n'
            f'username = "{user}"\npassword_file = "{secret}"'
        )

    def server(self, name: str, *, password: str = "", ca: Path | None = None) -> Server:
        folder = self.folder / name
        made = Server(
            folder,
            broker_port=self.broker.port,
            registry=write_registry(folder / "registry", ("gw-1",)),
            rules=write_rules(folder / "rules"),
            receiver=self.receiver,
            mqtt=self._access("ingest", password=password, ca=ca),
        )
        self.stack.callback(made.discard)
        made.start()
        return made

    def agent(self, name: str, *, password: str = "", ca: Path | None = None) -> Agent:
        made = Agent(
            self.folder / name,
            "gw-1",
            self.recording.path,
            broker_port=self.broker.port,
            speed=0,
            broker=self._access("gw-1", password=password, ca=ca),
        )
        self.stack.callback(made.discard)
        made.start()
        return made

    def tells_nothing(self, *parts: Part) -> None:
        """No secret, right or wrong, is in a log."""
        for part in parts:
            for secret in (*SECRETS.values(), WRONG):
                assert secret not in part.log, part.name


@pytest.fixture
def site(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[Site]:
    for tool in ("mosquitto", "mosquitto_passwd", "openssl"):
        require_tool(tool)
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    with ExitStack() as stack:
        broker = GuardedMosquitto(tmp_path / "broker", authority.sign("broker"), SECRETS)
        stack.callback(lambda: broker.running and broker.kill())
        broker.start()
        receiver = Receiver(tmp_path / "receiver")
        stack.callback(receiver.discard)
        receiver.start()
        receiver.up()
        start_ms = now_ms() - 3_000
        made = record(tmp_path, "gw-1", start_ms=start_ms, seconds=2, seed=1, fires=2)
        yield Site(tmp_path, stack, authority, stranger, broker, receiver, made)


def whole_way(site: Site, server: Server, agent: Agent) -> None:
    """Every reading is in the log, and confirmed; every fire is told."""
    until(lambda: agent.finished, 60, "everything is confirmed")
    fires = site.recording.fires.keys()
    until(lambda: len(site.receiver.raised(FIRE_RULE)) >= len(fires), 60, "the fires are told")
    until(lambda: server.health()["ok"], 30, "the server is well")
    account = compare(site.recording.parts, logged(server.data))
    assert (account.lost, account.strange, account.doubled) == (0, 0, 0), account


def complaints(part: Part, what: str) -> list[str]:
    return [line for line in part.log.splitlines() if re.search(what, line)]


NO_BROKER = "no connection to the broker"


def server_says(server: Server, why: str) -> None:
    """It serves, isn't ready, says why in /health and in one line of its log."""
    server.up()

    def told() -> bool:
        health = server.health()
        problems = " ".join(health["problems"])
        return not health["ready"] and "no broker: " in problems and why in problems

    until(told, 30, f"/health says {why}")
    until(lambda: complaints(server, f"{why}.*{NO_BROKER}"), 30, f"the log says {why}")
    assert server.running


def agent_says(agent: Agent, why: str) -> None:
    """One line an attempt, and it goes on trying."""
    until(lambda: len(complaints(agent, why)) >= 2, 30, f"the log says {why}, twice")
    assert agent.running
    assert "Traceback" not in agent.log


def test_names_and_passwords_over_tls_carry_readings(site: Site) -> None:
    server, agent = site.server("server"), site.agent("agent")
    server.up()
    whole_way(site, server, agent)
    site.tells_nothing(server, agent)


def test_wrong_credentials_and_wrong_authorities_are_told(site: Site) -> None:
    parts: list[tuple[Server, Agent, str]] = [
        (site.server("a", password=WRONG), site.agent("a-gw", password=WRONG), "Not authorized"),
        (
            site.server("b", ca=site.stranger.file),
            site.agent("b-gw", ca=site.stranger.file),
            "certificate verify failed",
        ),
    ]
    for server, agent, why in parts:
        server_says(server, why)
        agent_says(agent, why)
    for server, agent, _ in parts:
        site.tells_nothing(server, agent)
        told = [json.loads(line)["why"] for line in complaints(server, NO_BROKER)]
        assert len(set(told)) == len(told), "once, not at every attempt"


def test_a_certificate_that_ran_out_is_told_and_a_new_one_is_taken(site: Site) -> None:
    good = site.broker.certificate
    site.broker.stop()
    site.broker.certificate = site.authority.sign("old", until="20210101000000Z")
    site.broker.start()
    server, agent = site.server("server"), site.agent("agent")
    server_says(server, "certificate has expired")
    agent_says(agent, "certificate has expired")
    site.broker.stop()
    site.broker.certificate = good
    site.broker.start()
    whole_way(site, server, agent)
    site.tells_nothing(server, agent)
