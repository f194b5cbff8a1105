"""`gridwarden clip`: what gateways keep of falls, fetched when somebody asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.outcome import fail
from app.clips import ClipError, Fetched, fetch, gateway_of, listed
from app.settings import MqttSettings, SettingsError, load
from contracts.alerts import timestamp
from contracts.clips import KeptClip, read_reference

app = typer.Typer(
    help="Evidence clips: they stay at their gateway until they are fetched.", no_args_is_help=True
)

Config = Annotated[Path | None, typer.Option(help="the server's settings file (TOML)")]
Gateway = Annotated[str, typer.Option(help="the camera's; or --registry")]
Port = Annotated[int, typer.Option(help="of the broker, where the settings leave it open")]
Wait = Annotated[float, typer.Option(min=0.1, max=600, help="seconds for each answer")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document")]


@app.command("fetch")
def fetch_clip(
    reference: Annotated[str, typer.Argument(metavar="REF", help="`dataref` of the alert")],
    out: Annotated[Path, typer.Option(help="the clip (MP4)")],
    config: Config = None,
    gateway: Gateway = "",
    registry: Annotated[Path | None, typer.Option(help="folder that knows the gateway")] = None,
    port: Port = 0,
    wait: Wait = 20.0,
    as_json: AsJson = False,
) -> None:
    """The clip that an alert refers to: facade only, with the track drawn."""
    try:
        camera, at_ms = read_reference(reference)
        mqtt, folder = _settings(config, port)
        where = gateway or gateway_of(camera, registry or folder)
        found = fetch(mqtt, where, camera, at_ms, wait)
    except (ClipError, SettingsError, ValueError) as error:
        fail(f"clip: {error}")
    try:
        out.write_bytes(found.data)
    except OSError as error:
        fail(f"--out {out}: {error.strerror}; name a file that can be written")
    _tell(found, out, as_json=as_json)


@app.command("list")
def list_clips(
    gateway: Annotated[str, typer.Option(help="whose clips")],
    camera: Annotated[str, typer.Option(help="only this camera's")] = "",
    config: Config = None,
    port: Port = 0,
    wait: Wait = 20.0,
    as_json: AsJson = False,
) -> None:
    """What a gateway keeps, oldest first."""
    try:
        mqtt, _ = _settings(config, port)
        found = listed(mqtt, gateway, camera, wait)
    except (ClipError, SettingsError) as error:
        fail(f"clip: {error}")
    if as_json:
        print(json.dumps({"gateway": gateway, "clips": [_named(one) for one in found]}))
        return
    for one in found:
        print(
            f"{one.camera:24} {timestamp(one.start_ms)} .. {timestamp(one.end_ms)} {one.size:9d} B"
        )


def _named(one: KeptClip) -> dict[str, object]:
    return {
        "camera": one.camera, "start": timestamp(one.start_ms), "end": timestamp(one.end_ms),
        "bytes": one.size,
    }  # fmt: skip


def _tell(found: Fetched, out: Path, *, as_json: bool) -> None:
    about = {
        "camera": found.camera, "start": timestamp(found.start_ms), "end": timestamp(found.end_ms),
        "bytes": len(found.data), "sha256": found.sha256, "file": str(out),
    }  # fmt: skip
    if as_json:
        print(json.dumps(about))
    else:
        print(f"{out}: {about['camera']} {about['start']} .. {about['end']}, {about['bytes']} B")


def _settings(config: Path | None, port: int) -> tuple[MqttSettings, Path | None]:
    """(broker, folder of the registry). Raises `SettingsError`."""
    settings = load(config)
    mqtt = settings.mqtt
    return (mqtt.model_copy(update={"port": port}) if port else mqtt), settings.registry
