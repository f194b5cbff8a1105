"""From a camera's stream to an alert with its grid: RTSP, agent, MQTT, log, detector, rule."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import pytest

from app.falling.render import Encoder, Painter
from app.falling.scenes import Part, Recipe, draw
from edge.camera.video import Video, open_video
from tests.app.running import Child, Server, gridwarden, until
from tests.parts.tools import ROOT

SCENE = Recipe(
    Part.CHOOSE, 501, seconds=7.0, width=640, height=360, size=(6, 7), contrast=(90, 100),
    throws=1, distractors=(),
)  # fmt: skip
GRID = "340199009001001"
REGISTRY = {
    "areas.csv": "code,level,name\n340199,district,D\n340199009,street,S\n"
    "340199009001,community,C\n",
    "grids.csv": "code,name,kind,valid_from,valid_to,state,reason\n"
    f"{GRID},G,residential,2000-01-01,,valid,\n",
    "devices.csv": f"device,family,gateway,grid\ncam-1,camera,gw-1,{GRID}\n",
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene's access units, one a file."""
    folder = tmp_path_factory.mktemp("frames")
    encoder = Encoder(SCENE.width, SCENE.height, SCENE.fps, 1500)
    packets = [packet for picture in [*Painter(draw(SCENE)).frames(), None]
               for packet in encoder.encode(picture)]  # fmt: skip
    for number, packet in enumerate(packets):
        (folder / f"{number:05d}.h264").write_bytes(bytes(packet))
    return folder


class RtspServer:
    """GStreamer's server in the system's python3; killed and started as cameras are."""

    def __init__(self, frames: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._frames = frames
        self.start()

    def start(self) -> None:
        script = ROOT / "tests/parts/rtsp_server.py"
        self._process = subprocess.Popen(
            ["/usr/bin/python3", "-I", script, self._frames, "25", str(self._port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture
def rtsp(frames: Path, require_tool: Callable[[str], str]) -> Iterator[RtspServer]:
    require_tool("gst-rtsp-server")
    server = RtspServer(frames)
    yield server
    server.stop()


def camera_file(path: Path) -> None:
    facade = draw(SCENE).facade
    rows = [[round(float(row), 1), n] for n, row in enumerate(facade.rows)]
    path.write_text(
        f"width = {SCENE.width}\nheight = {SCENE.height}\n[[facade]]\n"
        f"polygon = [[0, 0], [639, 0], [639, 359], [0, 359]]\nstoreys = {rows[::-1]}\n"
    )


def set_up(folder: Path, url: str) -> tuple[Server, Path]:
    for name, text in REGISTRY.items():
        (folder / "registry").mkdir(exist_ok=True)
        (folder / "registry" / name).write_text(text, encoding="utf-8")
    shutil.copytree(
        ROOT / "deploy/rules", folder / "rules", ignore=shutil.ignore_patterns("*.test.yml")
    )
    (folder / "server.toml").write_text(
        'data = "data"\nregistry = "registry"\nrules = "rules"\n[http]\nport = 0\n'
        '[mqtt]\nbroker = "builtin"\nport = 0\n'
    )
    server = Server(folder, "server", folder / "data", "--config", folder / "server.toml")
    port = server.told(r"^broker \S+ on 127\.0\.0\.1:(\d+)")
    camera_file(folder / "cam-1.toml")
    agent = folder / "agent.toml"
    agent.write_text(
        f'[agent]\ngateway = "gw-1"\n[broker]\nhost = "127.0.0.1"\nport = {port}\n'
        '[outbox]\npath = "outbox.db"\n[source]\nkind = "camera"\nread_s = 2\n'
        'clips_dir = "clips"\n'
        f'[[source.cameras]]\ndevice = "cam-1"\nurl = "{url}"\ncamera_file = "cam-1.toml"\n'
    )
    return server, agent


def clip_of(server: Server, alert: Any, folder: Path) -> bytes:
    """The clip that the alert refers to, when the seconds after the fall are over."""
    told = gridwarden("explain", alert["alert"], "--data", folder / "data", "--json")
    (reference, *_) = {event["dataref"] for event in json.loads(told.stdout)["events"]}
    port = server.told(r"^broker \S+ on 127\.0\.0\.1:(\d+)")
    fetch = ("clip", "fetch", reference, "--config", folder / "server.toml", "--port", port,
             "--out", folder / "clip.mp4", "--wait", "5")  # fmt: skip
    until(lambda: gridwarden(*fetch).returncode == 0, "the clip", 60)
    return (folder / "clip.mp4").read_bytes()


def alert_of(server: Server, rule: str) -> Any:
    return next((one for one in server.alerts() if one["rule"] == rule), None)


def test_sound_is_never_fetched(rtsp: RtspServer) -> None:
    video = open_video(rtsp.url)
    assert isinstance(video, Video)
    kinds = [stream.type for stream in video.stream.container.streams]
    video.close()
    assert kinds == ["video"]


def test_a_fall_before_a_camera_is_an_alert_of_its_grid_and_a_dead_camera_says_so(
    tmp_path: Path, rtsp: RtspServer
) -> None:
    server, config = set_up(tmp_path, rtsp.url)
    with server, Child(tmp_path, "agent", "edge", "run", "--config", config) as agent:
        alert = until(lambda: alert_of(server, "camera.falling_object"), "an alert", 90)
        assert alert["device"] == "cam-1"
        assert alert["grid"] == GRID
        clip = clip_of(server, alert, tmp_path)
        with av.open(BytesIO(clip), "r") as shown:
            assert len(list(shown.decode(video=0))) > 50
        rtsp.stop()
        until(lambda: "camera lost device=cam-1" in agent.err, "word of the lost camera", 60)
        rtsp.start()
        until(lambda: agent.err.count("camera watched device=cam-1") >= 2, "the camera back", 60)
        assert agent.status is None
