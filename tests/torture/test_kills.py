"""kill -9 of agents, broker and server at random under load: nothing is lost, nothing doubled."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.alerts import alert_id
from contracts.transitions import Episode
from tests.torture import results
from tests.torture.account import changes, compare, logged, replayed
from tests.torture.district import (
    FIRE_RULE,
    TIMED_RULE,
    Recording,
    record,
)
from tests.torture.processes import Agent, until
from tests.torture.scene import Scene, scene

GATEWAYS = ("gw-1", "gw-2")
PACK = "rows = 40\nage_ms = 50"
"""Small packs, so that at every moment some are on each part of the way."""

pytestmark = pytest.mark.broker


@dataclass
class Load:
    """What is under way: agents and what they replay."""

    there: Scene
    agents: list[Agent]
    recordings: list[Recording]


def bring_load(there: Scene, *, seconds: float, seed: int, lead_s: float = 2.0) -> Load:
    """Recordings that begin now, on their way."""
    start_ms = time.time_ns() // 1_000_000 + int(lead_s * 1000)
    recordings = [
        record(there.folder, gateway, start_ms=start_ms, seconds=seconds, seed=seed)
        for gateway in GATEWAYS
    ]
    agents = [there.agent(made.gateway, made.path, pack=PACK) for made in recordings]
    return Load(there, agents, recordings)


class Killer:
    """Kills one part after the other in an order from a seed, and starts it again."""

    def __init__(self, load: Load, seed: int, each: int, pause_s: tuple[float, float]) -> None:
        self._load, self._pause_s = load, pause_s
        self._pick = random.Random(seed)
        self.plan = ["agent", "broker", "server", "both"] * each
        self._pick.shuffle(self.plan)
        self.kills: Counter[str] = Counter()

    def run(self) -> None:
        """Until the plan is done, or no agent is left to bring load."""
        for what in self.plan:
            # The wait is the experiment: a kill comes at any moment of the work.
            time.sleep(self._pick.uniform(*self._pause_s))
            living = [agent for agent in self._load.agents if not agent.finished]
            if not living:
                return
            if what == "agent":
                self._kill_agent(self._pick.choice(living))
            elif what == "broker":
                self._kill_broker()
            else:
                self._kill_server(and_broker=what == "both")
            self.kills[what] += 1

    def _kill_agent(self, agent: Agent) -> None:
        agent.kill()
        time.sleep(self._pick.uniform(0, 0.5))
        agent.start()

    def _kill_broker(self) -> None:
        self._load.there.broker.kill()
        time.sleep(self._pick.uniform(0, 0.5))
        self._load.there.broker.start()

    def _kill_server(self, *, and_broker: bool) -> None:
        """and_broker: once it has acknowledged what nobody has taken from it yet."""
        server = self._load.there.server
        server.kill()
        if and_broker:
            time.sleep(self._pick.uniform(0.3, 0.8))
            self._kill_broker()
        server.start()
        # Mostly it gets to work; one time in four the next kill may hit it while it recovers.
        if self._pick.random() < 0.75:
            server.up()


def torture(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    each: int,
    pause_s: tuple[float, float],
    lasting: bool,
) -> dict[str, float]:
    """lasting: whether what the broker holds survives; nothing may depend on it."""
    began = time.monotonic()
    with scene(folder, GATEWAYS, lasting=lasting) as there:
        load = bring_load(there, seconds=seconds, seed=seed)
        killer = Killer(load, seed, each, pause_s)
        killer.run()
        there.server.up()
        drain_s = 120 + seconds
        until(lambda: all(agent.finished for agent in load.agents), drain_s, "agents are drained")
        wanted = {device for made in load.recordings for device in made.breaches}
        until(
            lambda: wanted <= {e["data"]["device"] for e in there.receiver.raised(TIMED_RULE)},
            60,
            "timed alerts of all breaches are delivered",
        )
        until(there.server.drained, 60, "the server is drained")
        health = there.server.health()
        repeated = there.server.metric("gridwarden_alert_events_repeated_total")
        assert there.server.stop() == 0
        counts = there.receiver.finish()
        check_log(load)
        check_alerts(load, counts, folder)
        print(f"kills={dict(killer.kills)} lives={there.server.lives} {counts} {repeated=}")
        assert health["ok"], health["problems"]
        return {
            "seconds": time.monotonic() - began,
            **{f"kills_{name}": n for name, n in sorted(killer.kills.items())},
            "readings": sum(len(made) for made in load.recordings),
            "alert_events": counts["received"],
            "deliveries_repeated": counts.get("repeats", 0),
        }


def check_log(load: Load) -> None:
    """Every reading of the recordings is in the log, once."""
    account = compare(
        (part for made in load.recordings for part in made.parts), logged(load.there.server.data)
    )
    assert account.lost == 0, account
    assert account.strange == 0, account
    assert account.doubled == 0, account
    assert account.expected == account.found == sum(len(made) for made in load.recordings)


def check_alerts(load: Load, counts: dict[str, int], folder: Path) -> None:
    """Each fire raised one alert, whose id is known beforehand; and all events are those of a
    replay of the log, byte for byte."""
    there = load.there
    events = there.receiver.events()
    ids = [event["id"] for event in events]
    assert len(set(ids)) == len(ids) == counts["received"]
    assert counts.get("refused", 0) == 0
    fires = {device: at for made in load.recordings for device, at in made.fires.items()}
    rung = there.receiver.raised(FIRE_RULE)
    assert Counter(event["data"]["device"] for event in rung) == Counter(fires.keys())
    for event in rung:
        device = event["data"]["device"]
        known = [alert_id(FIRE_RULE, device, fires[device], int(lane)) for lane in Episode]
        assert event["data"]["alert"] in known, event
        assert event["data"]["notify"], event
    again, summary = replayed(there.server.data, folder)
    live = changes(events)
    assert summary["rejected"] == {}
    assert set(again) - set(live) == set(), "events that were never delivered"
    assert set(live) - set(again) == set(), "events that the log doesn't give"
    assert live == again


def test_kill_anything_at_any_moment(tmp_path: Path) -> None:
    told = torture(tmp_path, seconds=9, seed=20_260_301, each=2, pause_s=(0.2, 0.8), lasting=False)
    assert all(told[f"kills_{name}"] >= 1 for name in ("agent", "broker", "server", "both"))


@pytest.mark.torture
@pytest.mark.parametrize("lasting", [True, False], ids=["lasting", "forgetful"])
def test_kill_anything_at_any_moment_for_long(tmp_path: Path, *, lasting: bool) -> None:
    told = torture(tmp_path, seconds=200, seed=7, each=20, pause_s=(0.3, 2.5), lasting=lasting)
    assert sum(told[f"kills_{name}"] for name in ("agent", "broker", "server", "both")) >= 60
    results.keep("kills_lasting" if lasting else "kills_forgetful", told)
