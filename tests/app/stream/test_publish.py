"""`gridwarden publish` against a real Kafka, and what partitions make of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from app.cli.publish import app
from app.content import ContentError, content_hash, pack_rules, shipped_rules
from app.contents import Contents
from app.stream.contents import ContentIndex
from app.stream.forgetting import forget_contents
from app.stream.outlet import Outlet
from app.stream.partition import Partition
from app.stream.post import OutletPost
from app.stream.publishing import Done, Known, publisher
from app.stream.records import Assembler, Assigned, Pulse, encode, gateway_key, grid_key
from app.stream.routes import Routes, by_checksum
from app.stream.settings import load
from app.stream.tails import read_to_end
from app.stream.topics import DAY_MS
from contracts.log import RecordKind, decode_bundle
from contracts.messages import Installed
from ingest.partition import Bundle
from tests.app.stream.bridging import PARTITIONS, BridgeScene
from tests.parts.mosquitto import Mosquitto

pytestmark = pytest.mark.kafka

GRIDS = tuple(f"34011100200100{n}" for n in range(1, 7))
RULE = """rules:
  - id: efire.high
    title: {{zh: 过高, en: High}}
    on: {{family: efire}}
    when: residual_current >= {limit} mA
    severity: 2
    standard: proposal
    reason: {{zh: 因, en: why}}
    runbook: {{zh: 做, en: do}}
{more}"""


class Site(BridgeScene):
    """Topics in Kafka, folders of a registry and of rules; no broker is started."""

    def publish(self, *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
        """Status, document, stderr."""
        told = [str(one) for one in arguments]
        done = CliRunner().invoke(
            app, [*told, "--config", str(self.folder / "stream.toml"), "--json"]
        )
        return done.exit_code, json.loads(done.stdout or "{}"), done.stderr

    @property
    def registry(self) -> Path:
        return self.folder / "registry"

    @property
    def rules(self) -> Path:
        return self.folder / "rules"

    def write_registry(self, *more: str) -> None:
        self.registry.mkdir(exist_ok=True)
        (self.registry / "areas.csv").write_text(
            "code,level,name\n340111,district,包河区\n"
            "340111002,street,骆岗街道\n340111002001,community,滨湖社区\n"
        )
        lines = [f"{code},网格,residential" for code in GRIDS]
        (self.registry / "grids.csv").write_text("\n".join(["code,name,kind", *lines]) + "\n")
        rows = ["device,family,gateway,grid"]
        rows += [f"meter-{n},efire,gw-{n},{code}" for n, code in enumerate(GRIDS)]
        (self.registry / "devices.csv").write_text("\n".join([*rows, *more]) + "\n")

    def write_rules(self, limit: int, more: str = "") -> None:
        self.rules.mkdir(exist_ok=True)
        (self.rules / "a.yml").write_text(RULE.format(limit=limit, more=more))

    def routes(self) -> Routes:
        routes = Routes(PARTITIONS)
        for record in self.read(self.topics.assignments):
            routes.learn(record.key, record.value)
        return routes

    def installed(self, what: str) -> dict[int, list[Installed]]:
        """Partition -> control records of a kind, in order."""
        found: dict[int, list[Installed]] = {n: [] for n in range(PARTITIONS)}
        for record in self.read(self.topics.log):
            for one in decode_bundle(record.value, 1):
                if one.kind is RecordKind.INSTALLED:
                    told = msgspec.json.decode(one.payload, type=Installed)
                    if told.what == what:
                        found[record.partition].append(told)
        return found

    def partition(self, number: int) -> Partition:
        """As a worker has it after all records."""
        part = Partition(number, Contents(self))
        records = [one for one in self.read(self.topics.log) if one.partition == number]
        part.work([Bundle(one.offset, one.timestamp, one.value) for one in records])
        return part

    def get_content(self, content: str) -> bytes:
        assembler = Assembler()
        for record in self.read(self.topics.content):
            whole = record.value and assembler.add(record.key, record.value)
            if whole is not None and whole[0] == content:
                assert content_hash(whole[1]) == content
                return whole[1]
        raise ContentError(content)


@pytest.fixture
def site(tmp_path: Path, kafka: str, topic_prefix: str) -> Iterator[Site]:
    with ExitStack() as stack:
        broker = Mosquitto(tmp_path / "none", port=1)
        made = Site(tmp_path, broker, kafka, topic_prefix, stack)
        made.make_topics()
        (tmp_path / "stream.toml").write_text(made.settings())
        made.write_registry()
        made.write_rules(500)
        yield made


def test_every_partition_gets_what_is_its_own(site: Site) -> None:
    assert site.publish("settings")[0] == 0
    status, told, _ = site.publish("registry", site.registry)
    assert (status, told["devices"], told["cells"], told["assigned"]) == (0, 6, 6, 12)
    status, told, _ = site.publish("rules", site.rules)
    assert (status, told["installed"], told["activate_ms"]) == (0, [0, 1, 2], None)
    routes = site.routes()
    seen: list[str] = []
    for number in range(PARTITIONS):
        engine = site.partition(number).engine
        assert [rule.card.id for rule in engine.ruleset.rules] == ["efire.high"]
        assert engine.content.keys() == {"rules", "registry", "settings"}
        for device in engine.registry.devices.ids:
            n = int(device.removeprefix("meter-"))
            assert routes.of_gateway(f"gw-{n}") == routes.of_grid(GRIDS[n]) == number
            assert number == by_checksum(GRIDS[n], PARTITIONS)
        seen += engine.registry.devices.ids
    assert sorted(seen) == [f"meter-{n}" for n in range(6)]


def test_what_is_there_already_isnt_put_there_again(site: Site) -> None:
    for again in (False, True):
        for arguments in (("settings",), ("registry", site.registry), ("rules", site.rules)):
            status, told, _ = site.publish(*arguments)
            assert status == 0
            assert told["unchanged" if again else "installed"] == [0, 1, 2]
            assert told["installed" if again else "unchanged"] == []
    for what in ("settings", "registry", "rules"):
        assert {n: len(found) for n, found in site.installed(what).items()} == {0: 1, 1: 1, 2: 1}


def test_other_rules_come_into_force_everywhere_at_one_event_time(site: Site) -> None:
    assert site.publish("rules", site.rules)[0] == 0
    site.write_rules(600)
    status, told, _ = site.publish("rules", site.rules)
    assert (status, told["installed"], told["late"]) == (0, [0, 1, 2], [])
    last = [found[-1] for found in site.installed("rules").values()]
    assert {one.activate_ms for one in last} == {told["activate_ms"]}
    appended = max(record.timestamp for record in site.read(site.topics.log))
    assert told["activate_ms"] > appended


def test_a_publisher_that_died_is_carried_on_at_the_same_event_time(site: Site) -> None:
    assert site.publish("rules", site.rules)[0] == 0
    site.write_rules(600)
    (site.folder / "stream.toml").write_text(
        site.settings(more="[engine]\nactivate_after_ms = 600000\n")
    )
    _, first, _ = site.publish("rules", site.rules)
    # As if it had died before the last partition.
    site.write(site.topics.assignments, b"published/rules/2", b'{"hash":"other","at_ms":1}')
    status, told, _ = site.publish("rules", site.rules)
    assert (status, told["installed"], told["earlier"]) == (0, [2], {})
    assert told["activate_ms"] == first["activate_ms"]
    times = {found[-1].activate_ms for found in site.installed("rules").values()}
    assert times == {first["activate_ms"]}


def test_what_became_of_it_is_told_by_partition(site: Site) -> None:
    """And what was refused is put there again."""
    _, told, _ = site.publish("rules", site.rules)
    assert {one["state"] for one in told["answers"].values()} == {"not yet"}
    name = content_hash(pack_rules(site.rules))
    for number, more in enumerate(
        ({"rules": name}, {"rules": "old", "refused": name, "why": "judged already"}, {})
    ):
        pulse = Pulse(partition=number, offset=-1, position=0, heard_ms=1, **more)
        site.write(site.topics.pulses, b"%d" % number, encode(pulse))
    status, told, _ = site.publish("rules", site.rules, "--wait", "1")
    assert (status, told["installed"], told["unchanged"]) == (1, [1], [0, 2])
    said = {number: (one["state"], one["why"]) for number, one in told["answers"].items()}
    assert said == {"0": ("taken", ""), "1": ("refused", "judged already"), "2": ("not yet", "")}


def test_contents_that_nobody_can_want_again_leave_the_topic(site: Site) -> None:
    settings = load(site.folder / "stream.toml")
    old = content_hash(pack_rules(site.rules))
    assert site.publish("rules", site.rules)[0] == 0
    site.write_rules(600)
    new = content_hash(pack_rules(site.rules))
    assert site.publish("rules", site.rules)[0] == 0

    async def forgotten(days: float) -> list[str]:
        index = ContentIndex()
        for record in await read_to_end(settings.kafka, site.topics.content.name):
            index.take(record)
        outlet = Outlet(settings.kafka)
        now_ms = int(time.time() * 1000 + days * DAY_MS)
        try:
            return await forget_contents(settings, index, OutletPost(outlet), now_ms)
        finally:
            await outlet.close()

    assert asyncio.run(forgotten(8)) == []
    for number in range(PARTITIONS):
        pulse = Pulse(partition=number, offset=-1, position=0, heard_ms=1, rules=new, needs=(new,))
        site.write(site.topics.pulses, b"%d" % number, encode(pulse))
    assert asyncio.run(forgotten(6)) == []
    assert asyncio.run(forgotten(8)) == [old]
    assert asyncio.run(forgotten(8)) == []
    left = ContentIndex()
    for record in site.read(site.topics.content):
        left.take(record)
    assert left.hashes() == [new]
    # It may be published again.
    site.write_rules(500)
    assert site.publish("rules", site.rules)[0] == 0
    assert site.get_content(old)


def test_who_gets_and_gives_up_cells_knows_both_for_a_while(site: Site) -> None:
    settings = load(site.folder / "stream.toml")
    known = Known(Routes(PARTITIONS), {}, {})
    known.routes.learn(grid_key("1"), encode(Assigned(partition=1)))
    known.routes.learn(grid_key("2"), encode(Assigned(partition=2)))

    async def work() -> Done:
        async with publisher(settings, lambda: 1_780_000_000_000) as (there, _):
            changes = {grid_key("1"): 0, grid_key("2"): 1}
            return await there.registry(known, [b"0", b"1", b"2"], changes, {1: b"both"})

    done = asyncio.run(work())
    assert (done.installed, done.unchanged, done.assigned) == ([0, 1, 2], [], 2)
    names = {
        number: [one.hash for one in found] for number, found in site.installed("registry").items()
    }
    assert names == {
        0: [content_hash(b"0")],
        1: [content_hash(b"both"), content_hash(b"1")],
        2: [content_hash(b"2")],
    }
    assert site.routes().assigned() == {grid_key("1"): 0, grid_key("2"): 1}


def test_a_new_device_touches_only_its_partition(site: Site) -> None:
    assert site.publish("registry", site.registry)[0] == 0
    site.write_registry(f"new,efire,gw-new,{GRIDS[0]}")
    status, told, _ = site.publish("registry", site.registry, "--dry-run")
    assert (status, told["dry_run"], told["assigned"], told["installed"]) == (0, True, 1, [])
    status, told, _ = site.publish("registry", site.registry)
    own = by_checksum(GRIDS[0], PARTITIONS)
    assert (status, told["installed"], told["assigned"]) == (0, [own], 1)
    assert site.routes().of_gateway("gw-new") == own
    assert "new" in site.partition(own).engine.registry.devices.ids


def test_cells_that_would_join_are_refused_unless_moved(site: Site) -> None:
    assert site.publish("registry", site.registry)[0] == 0
    first = by_checksum(GRIDS[0], PARTITIONS)
    other = next(n for n in range(6) if by_checksum(GRIDS[n], PARTITIONS) != first)
    site.write_registry(f"bridge,efire,gw-0,{GRIDS[other]}")
    status, _, said = site.publish("registry", site.registry)
    assert status == 1
    assert "would join partitions" in said
    assert "--move" in said
    assert site.routes().of_grid(GRIDS[other]) != first
    status, told, _ = site.publish("registry", site.registry, "--move")
    assert (status, len(told["moved"])) == (0, 1)
    routes = site.routes()
    places = {
        routes.of_grid(GRIDS[0]), routes.of_grid(GRIDS[other]), routes.of_gateway("gw-0"),
        routes.of_gateway(f"gw-{other}"),
    }  # fmt: skip
    assert len(places) == 1
    (place,) = places
    for number in range(PARTITIONS):
        here = {"meter-0", f"meter-{other}", "bridge"} & set(
            site.partition(number).engine.registry.devices.ids
        )
        assert len(here) == (3 if number == place else 0)


def test_bad_input_reaches_no_partition(site: Site) -> None:
    site.write_rules(500, more="    nonsense: 1\n")
    status, _, said = site.publish("rules", site.rules)
    assert (status, len(said.splitlines())) == (1, 1)
    assert "nonsense" in said
    assert site.publish("rules", site.folder / "none")[0] == 2
    assert site.publish("registry", site.folder / "none")[0] == 2
    site.write_rules(500)
    text = (site.rules / "a.yml").read_text()
    text = text.replace("on: {family: efire}", "on: {family: efire}\n    group: community")
    text = text.replace("when: residual", "when: devices(residual").replace(
        "500 mA", "500 mA) >= 2"
    )
    (site.rules / "a.yml").write_text(text)
    status, _, said = site.publish("rules", site.rules)
    assert (status, 'publish.cells = "community"' in said) == (1, True)
    assert not site.read(site.topics.log)


def test_published_in_part_is_published_again(site: Site) -> None:
    """What a publisher that died has done stays; the rest is done by the next."""
    assert site.publish("registry", site.registry)[0] == 0
    site.write(site.topics.assignments, b"published/registry/1", b'{"hash":"other","at_ms":1}')
    site.write(site.topics.assignments, gateway_key("gw-0"), encode(Assigned(partition=2)))
    moved = by_checksum(GRIDS[0], PARTITIONS) != 2
    status, told, said = site.publish("registry", site.registry, "--move")
    assert status == 0, said
    assert told["installed"] == [1]
    assert bool(told["assigned"]) == moved


def test_the_shipped_rules_can_be_published(site: Site) -> None:
    status, told, said = site.publish("rules", shipped_rules())
    assert (status, told.get("installed")) == (0, [0, 1, 2]), said
