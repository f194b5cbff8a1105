"""`gridwarden up` with telemetry in a store of InfluxDB's kind, which is away for a while."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.settings import SettingsError, TelemetrySettings, load
from app.telemetry import open_telemetry
from tests.app.running import Server, until
from tests.parts.telemetry_servers import VictoriaMetrics


def demo(folder: Path, url: str) -> Server:
    (folder / "token").write_text("not-for-the-log\n", encoding="ascii")
    config = folder / "gridwarden.toml"
    config.write_text(
        'data = "data"\n[mqtt]\nbroker = "builtin"\nport = 0\n[http]\nport = 0\n'
        "[engine]\nsnapshot_every_s = 1\n"
        '[telemetry]\nstore = "influx"\n'
        f'[telemetry.influx]\nurl = "{url}"\ntoken_file = "token"\nsettle_s = 20\n',
        encoding="utf-8",
    )
    return Server(folder, "server", folder / "data", "--config", config, "--demo")


def telemetry(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get("/health").json()["telemetry"]
    return found


def metric(server: Server, name: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name + " ")))


def test_a_store_that_goes_is_seen_and_caught_up_with(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("victoria-metrics")
    with VictoriaMetrics(tmp_path / "victoria") as store, demo(tmp_path, store.url) as server:
        until(lambda: telemetry(server)["stored_rows"] > 100, "rows are stored")
        assert metric(server, "gridwarden_telemetry_store_up") == 1
        store.kill()
        until(lambda: telemetry(server)["spilled_rows"] > 0, "rows wait on disk")
        health = server.client.get("/health").json()
        assert any(one.startswith("telemetry store: 127.0.0.1:") for one in health["problems"])
        assert health["ready"] is True
        assert metric(server, "gridwarden_telemetry_store_up") == 0
        assert metric(server, "gridwarden_telemetry_store_spilled_rows") > 0
        store.start()
        until(lambda: telemetry(server)["spilled_rows"] == 0, "the disk is worked off")
        until(lambda: not server.client.get("/health").json()["problems"], "all is well")
        assert telemetry(server)["lost_rows"] == 0
        assert telemetry(server)["refused_rows"] == 0
        handed = telemetry(server)["handed_rows"]
        assert server.stop() == 0
        points = {(str(labels), ts_ms, value) for labels, ts_ms, value in store.points()}
        assert len(points) >= handed > 100
        assert "not-for-the-log" not in server.out + server.err


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("store = 'influxdb'", "telemetry.store", id="unknown-store"),
        pytest.param("[telemetry.influx]\nurl = 'http://db.example:8086'", "use https", id="plain"),
        pytest.param("[telemetry.influx]\nurl = 'https://u:p@db.example'", "url", id="password"),
        pytest.param("[telemetry.influx]\ntoken = 'x'", "token: remove it", id="token-in-the-file"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, want: str) -> None:
    file = tmp_path / "gridwarden.toml"
    file.write_text(f"[telemetry]\n{text}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=want) as raised:
        load(file)
    assert "\n" not in str(raised.value)


def test_the_token_file_is_relative_to_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "gridwarden.toml"
    file.write_text(
        "[telemetry]\nstore = 'influx'\n[telemetry.influx]\ntoken_file = 't'\n", encoding="utf-8"
    )
    settings = load(file).telemetry
    assert settings.influx.token_file == tmp_path / "t"

    with pytest.raises(SettingsError, match=r"telemetry\.influx\.token_file"):
        open_telemetry(settings, tmp_path, clock=lambda: 0, letters=lambda *_: None)


def test_no_store_is_a_store_less(tmp_path: Path) -> None:
    found = open_telemetry(
        TelemetrySettings(enabled=False), tmp_path, clock=lambda: 0, letters=lambda *_: None
    )
    assert found is None
