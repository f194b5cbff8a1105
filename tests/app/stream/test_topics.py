"""Topics as code: what is missing is made, what is wrong is named with its mend."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.topics import app
from app.settings import SettingsError
from app.stream import admin
from app.stream.settings import KafkaSettings, load
from app.stream.topics import HOUR_MS, Topic, TopicPlan, topics_of
from tests.parts.mosquitto import free_port
from tests.parts.tools import ROOT

LOG = topics_of(TopicPlan(prefix="p.", partitions=3)).log


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def settings_file(folder: Path, bootstrap: str, prefix: str, partitions: int = 3) -> str:
    path = folder / "stream.toml"
    path.write_text(
        f'[kafka]\nbootstrap = "{bootstrap}"\n'
        f'[topics]\nprefix = "{prefix}"\npartitions = {partitions}\n'
    )
    return str(path)


@pytest.mark.kafka
def test_made_once_and_checked(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    config = settings_file(tmp_path, kafka, topic_prefix)
    status, said, _ = run("check", "--config", config)
    assert (status, said.splitlines()[-1]) == (1, "11 missing; run gridwarden topics apply")
    assert run("apply", "--config", config)[0] == 0
    status, said, _ = run("apply", "--config", config, "--json")
    document = json.loads(said)
    assert (status, document["made"]) == (0, [])
    assert document["topics"][0]["role"] == "log"
    assert run("check", "--config", config)[0] == 0


@pytest.mark.kafka
def test_another_layout_is_refused_with_the_mend(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    config = settings_file(tmp_path, kafka, topic_prefix)
    assert run("apply", "--config", config)[0] == 0
    config = settings_file(tmp_path, kafka, topic_prefix, partitions=4)
    status, said, _ = run("apply", "--config", config)
    assert status == 1
    assert f"{topic_prefix}log: 3 partitions, the settings say 4; set topics.partitions" in said

    async def demanded() -> None:
        settings = load(Path(config))
        async with admin.admin(settings.kafka) as client:
            await admin.demand(client, settings.layout)

    with pytest.raises(admin.TopicsWrong, match="3 partitions"):
        asyncio.run(demanded())


def test_nobody_answers(tmp_path: Path) -> None:
    config = settings_file(tmp_path, f"127.0.0.1:{free_port()}", "p.")
    status, _, said = run("check", "--config", config)
    assert status == 2
    assert said.startswith("gridwarden: kafka at 127.0.0.1:")
    assert len(said.splitlines()) == 1


def found(topic: Topic, **changed: str) -> admin.Found:
    return admin.Found(topic.partitions, topic.replication, {**topic.config, **changed})


def test_what_is_compared() -> None:
    assert admin.compared(LOG, None).missing
    assert admin.compared(LOG, found(LOG, others="are none of ours")).good
    wrong = admin.compared(LOG, found(LOG, **{"message.timestamp.type": "CreateTime"}))
    assert not wrong.good
    assert "--add-config message.timestamp.type=LogAppendTime" in wrong.faults[0]
    few = admin.compared(topics_of(TopicPlan(replication=3)).log, found(LOG))
    assert any("1 copies" in fault for fault in few.faults)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[kafka]\nbootstrap = "k1:9092"', "set tls = true"),
        ('[kafka]\nbootstrap = " , "', "name at least one"),
        ('[kafka]\nsasl = "PLAIN"', "username and password_file"),
        ('[kafka]\ntls = true\ncert_file = "c"', "go together"),
        ('[mqtt]\nhost = "broker"', "set tls = true"),
        ("[topics]\nmin_insync = 2", "at most as many as replication"),
        ("[kafka]\nserver = 1", "docs/scale-out.md for the known keys"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "stream.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"stream\.toml: ") as error:
        load(path)
    assert said in str(error.value)


def test_files_are_beside_the_settings_and_secrets_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "stream.toml").write_text(
        '[kafka]\nsasl = "PLAIN"\nusername = "u"\npassword_file = "secret"\n'
    )
    settings = load(tmp_path / "stream.toml")
    assert settings.kafka.password_file == tmp_path / "secret"
    with pytest.raises(SettingsError, match="check password_file"):
        asyncio.run(_start(settings.kafka))
    (tmp_path / "secret").write_text("hidden-word\n")
    assert "hidden-word" not in repr(settings)


async def _start(settings: KafkaSettings) -> None:
    async with admin.admin(settings):
        raise AssertionError("unreachable")


def test_the_table_of_the_docs_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "scale-out.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `gridwarden.")]
    assert rows == [row(topic) for topic in topics_of(TopicPlan(partitions=0))]


def row(topic: Topic) -> str:
    kept = int(topic.config.get("retention.ms", 0)) // HOUR_MS
    span = f"after {kept // 24} days" if kept >= 48 else f"after {kept} hour"
    size = int(topic.config["max.message.bytes"]) >> 20
    cells = (
        f"`{topic.name}`", str(topic.partitions or "N"),
        "compact" if topic.compacted else span, f"{size} MiB", topic.key, topic.value,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"
