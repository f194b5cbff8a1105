"""Every mistake in a configuration is one line that names file, field and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, load


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("dat = 'x'", "dat: remove it", id="misspelt-key"),
        pytest.param("[http]\nport = 'x'", "http.port: Input should be a valid integer", id="type"),
        pytest.param("[http]\nport = 70000", "http.port: ", id="range"),
        pytest.param("[mqtt]\nbroker = 'hivemq'", "mqtt.broker: ", id="unknown-broker"),
        pytest.param(
            "[mqtt]\nbroker = 'external'\nhost = 'b.example'",
            "tls: b.example is not this machine",
            id="plain-mqtt-over-a-network",
        ),
        pytest.param("[mqtt]\nhost = '0.0.0.0'", "loopback only", id="own-broker-listens-to-all"),
        pytest.param("data = ", "not TOML", id="not-toml"),
        pytest.param(
            "[[webhook]]\nname='a'\nurl='http://x'\nsecret_file='s'\n"
            "[[webhook]]\nname='a'\nurl='http://y'\nsecret_file='s'\n",
            "two webhooks have the same name",
            id="webhook-named-twice",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, want: str) -> None:
    file = tmp_path / "gridwarden.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        load(file)
    line = str(raised.value)
    assert str(file) in line
    assert want in line
    assert "Value error" not in line
    assert "\n" not in line


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        load(tmp_path / "absent.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gridwarden.toml"
    file.write_text(
        "data = 'd'\nregistry = 'r'\n[[webhook]]\nname='a'\nurl='https://x'\nsecret_file='s'\n",
        encoding="utf-8",
    )
    settings = load(file)
    assert settings.data == tmp_path / "d"
    assert settings.registry == tmp_path / "r"
    assert settings.webhook[0].secret_file == tmp_path / "s"


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gridwarden.toml"
    file.write_text("[http]\nport = 8081\n", encoding="utf-8")
    monkeypatch.setenv("GRIDWARDEN_HTTP__PORT", "8082")
    assert load(file).http.port == 8082


def test_the_command_line_wins_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gridwarden.toml"
    file.write_text("[http]\nport = 8081\n[mqtt]\nport = 1884\n", encoding="utf-8")
    monkeypatch.setenv("GRIDWARDEN_HTTP__PORT", "8082")
    monkeypatch.setenv("GRIDWARDEN_MQTT__BROKER", "mosquitto")
    settings = load(file, http_port=8083, broker="builtin")
    assert settings.http.port == 8083
    assert (settings.mqtt.broker, settings.mqtt.port) == ("builtin", 1884)


def test_nothing_listens_beyond_loopback_by_default() -> None:
    settings = Settings()
    assert settings.mqtt.host == "127.0.0.1"
    assert settings.http.host == "127.0.0.1"


def test_every_key_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    sections = {
        name: field.annotation.model_fields
        for name, field in Settings.model_fields.items()
        if hasattr(field.annotation, "model_fields")
    }
    for section, fields in list(sections.items()):
        for key, field in fields.items():
            if hasattr(field.annotation, "model_fields"):
                sections[f"{section}.{key}"] = field.annotation.model_fields
                continue
            assert f"{section}.{key}`" in text or f"`.{key}`" in text, f"{section}.{key}"
    for key in sections["telemetry.influx"]:
        assert f"influx.{key}`" in text or f"`.{key}`" in text, key
