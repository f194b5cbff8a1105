"""Wrong configuration gets one line with file, field and mend."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest

from edge.settings import Settings, SettingsError, load
from tests.parts.tools import ROOT

GOOD = """
[agent]
gateway = "gw-0001"
[broker]
host = "127.0.0.1"
[outbox]
path = "var/outbox.db"
[source]
kind = "replay"
recordings = ["a.toml"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text)
    return path


def test_defaults_and_paths_beside_the_file(tmp_path: Path) -> None:
    settings = load(written(tmp_path, GOOD))
    assert settings.gateway_ids() == ("gw-0001",)
    assert settings.outbox.path == str(tmp_path / "var/outbox.db")
    assert settings.source_options() == {
        "recordings": [str(tmp_path / "a.toml")],
        "rejects_file": str(tmp_path / "var/outbox.db.rejects.jsonl"),
    }
    assert (settings.port(), settings.pack.rows, settings.window.packs) == (1883, 500, 32)


def test_several_gateways_by_number_or_by_name(tmp_path: Path) -> None:
    by_number = GOOD.replace('"gw-0001"', '"gw"\ngateways = 2')
    assert load(written(tmp_path, by_number)).gateway_ids() == ("gw-01", "gw-02")
    by_name = GOOD.replace('gateway = "gw-0001"', 'gateways = ["a", "b"]')
    assert load(written(tmp_path, by_name)).gateway_ids() == ("a", "b")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("[agent]", "[agent", "not TOML", id="not-toml"),
        pytest.param('host = "127.0.0.1"', "", "broker.host: is missing; add it", id="missing"),
        pytest.param("[broker]", "[broker]\nhots = 1", "broker.hots: no such", id="unknown"),
        pytest.param("[agent]", "[agnet]", "agnet: no such setting", id="unknown-table"),
        pytest.param("[broker]", "[broker]\nport = 99999", "broker.port: ", id="out-of-range"),
        pytest.param("[broker]", '[broker]\nport = "x"', "broker.port: ", id="wrong-type"),
        pytest.param("gw-0001", "gw 1", "agent.gateway: 'gw 1' is no id", id="bad-id"),
        pytest.param(
            "127.0.0.1", "broker.example", "broker.tls: broker.example is another", id="no-tls"
        ),
        pytest.param(
            "[broker]", '[broker]\nusername = "u"\npassword_file = "nope"',
            "broker.password_file: ", id="no-password-file",
        ),
        pytest.param('kind = "replay"', "", "source.kind: is missing", id="no-kind"),
        pytest.param('"gw-0001"', '""', "agent.gateway: is missing", id="no-gateway"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_clear_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SettingsError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert said in text
    assert "\n" not in text


def test_another_machine_without_tls_must_be_written(tmp_path: Path) -> None:
    open_line = GOOD.replace('"127.0.0.1"', '"10.0.0.5"\ninsecure = true')
    assert load(written(tmp_path, open_line)).broker.insecure
    safe = GOOD.replace('"127.0.0.1"', '"10.0.0.5"\ntls = true')
    assert load(written(tmp_path, safe)).port() == 8883


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "none.toml")


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "gateway.md").read_text("utf-8")
    missing = [
        f"{table}.{field}"
        for table, struct in get_type_hints(Settings).items()
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct)
        for field in struct.__struct_fields__
        if f"`{table}.{field}`" not in text
    ]
    assert missing == []
