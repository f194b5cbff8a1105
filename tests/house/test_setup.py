"""The set-up scripts: which index they ask, what they refuse, what they tell."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from tests.parts.mosquitto import free_port
from tests.parts.tools import ROOT, load_script

SETUP = ROOT / "deploy" / "setup"
WHEEL = b"not really a wheel " * 1_000


@pytest.fixture(scope="module")
def package_index() -> ModuleType:
    return load_script(SETUP / "package_index.py")


class Index(BaseHTTPRequestHandler):
    """A simple index with a password, in HTML below /html and in JSON below /json."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Basic dTpwQHc=":  # u:p@w
            self.answer(401, "text/plain", b"")
        elif self.path == "/html/uv/":
            page = '<a href="../../files/x%2B1.whl#sha256=00">x+1.whl</a><a name="n">n</a>'
            self.answer(200, "text/html", page.encode())
        elif self.path == "/json/uv/":
            page = json.dumps({"files": [{"filename": "x+1.whl", "url": "/files/x+1.whl"}]})
            self.answer(200, "application/vnd.pypi.simple.v1+json", page.encode())
        elif self.path.startswith("/files/"):
            self.answer(200, "application/octet-stream", WHEEL)
        else:
            self.answer(404, "text/plain", b"")

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests don't chat."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("environ", "pip_conf", "want"),
    [
        pytest.param({}, "", "https://pypi.org/simple", id="the-public-one"),
        pytest.param({}, "[global]\nindex-url = http://a/s/", "http://a/s", id="of-pip-conf"),
        pytest.param(
            {"PIP_INDEX_URL": "http://b/s"},
            "[global]\nindex-url=http://a/s",
            "http://b/s",
            id="pip",
        ),
        pytest.param(
            {"PIP_INDEX_URL": "http://b", "UV_INDEX_URL": "http://c"}, "", "http://c", id="uv-old"
        ),
        pytest.param(
            {"UV_INDEX_URL": "http://c", "UV_DEFAULT_INDEX": "http://d/%7E"},
            "",
            "http://d/%7E",
            id="uv",
        ),
        pytest.param({"UV_DEFAULT_INDEX": "m=http://d/s"}, "", "http://d/s", id="uv-with-a-name"),
    ],
)
def test_the_index_is_the_configured_one(
    package_index: ModuleType, tmp_path: Path, environ: dict[str, str], pip_conf: str, want: str
) -> None:
    (tmp_path / "pip.conf").write_text(pip_conf)

    config = package_index.read_config(
        {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), **environ}
    )

    assert config.index == want


@pytest.mark.parametrize("form", ["html", "json"])
def test_a_file_is_found_and_fetched(
    package_index: ModuleType, tmp_path: Path, address: str, form: str
) -> None:
    config = package_index.Config(f"http://u:p%40w@{address}/{form}", "")
    lines: list[str] = []

    found = package_index.find("x+1.whl", config)
    package_index.fetch(found, tmp_path / "x.whl", config, lines.append)

    assert (tmp_path / "x.whl").read_bytes() == WHEEL
    assert "p%40w" not in "".join(lines)


def test_a_failure_names_the_address_without_its_password(
    package_index: ModuleType, address: str
) -> None:
    refused = package_index.Config(f"http://u:wrong@{address}/html", "")
    with pytest.raises(package_index.SetupFailed, match="answered 401") as told:
        package_index.find("x+1.whl", refused)

    assert address in str(told.value)
    assert "wrong" not in str(told.value)


def test_a_password_stays_with_its_host(package_index: ModuleType) -> None:
    index = "https://u:p@mirror.example/simple"

    same = package_index.with_user("https://mirror.example/f.whl", index)
    other = package_index.with_user("https://mirror.example.org/f.whl", index)

    assert same == "https://u:p@mirror.example/f.whl"
    assert other == "https://mirror.example.org/f.whl"


def test_a_file_that_is_not_the_pinned_one_is_refused(
    package_index: ModuleType, tmp_path: Path
) -> None:
    wheel = tmp_path / "uv.whl"
    wheel.write_bytes(WHEEL)
    package_index.check(wheel, hashlib.sha256(WHEEL).hexdigest())

    with pytest.raises(package_index.SetupFailed, match="not used"):
        package_index.check(wheel, hashlib.sha256(WHEEL[:-1]).hexdigest())

    assert not wheel.exists()


def test_the_pins_name_one_version(package_index: ModuleType) -> None:
    names = [name for name, _ in package_index.WHEELS.values()]

    assert {name.split("-")[1] for name in names} == {package_index.UV_VERSION}
    assert all(len(bytes.fromhex(sha256)) == 32 for _, sha256 in package_index.WHEELS.values())


def test_unpacking_gives_a_program(package_index: ModuleType, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(
            f"uv-{package_index.UV_VERSION}.data/scripts/uv", "#!/bin/sh\necho it runs\n"
        )
    (tmp_path / "uv.whl").write_bytes(buffer.getvalue())

    package_index.unpack(tmp_path / "uv.whl", tmp_path / "bin" / "uv")

    assert subprocess.check_output([str(tmp_path / "bin" / "uv")]) == b"it runs\n"


def test_set_up_without_an_index_is_one_line_and_status_2(tmp_path: Path) -> None:
    shutil.copytree(SETUP, tmp_path / "deploy" / "setup")
    for name in ("uv.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    env = {**os.environ, "UV_DEFAULT_INDEX": f"http://127.0.0.1:{free_port()}/simple"}

    done = subprocess.run(
        [sys.executable, "deploy/setup/bootstrap.py", "server"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("setup: http://127.0.0.1:")
    assert "not reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_tool_is_named_with_the_command_that_installs_it() -> None:
    done = subprocess.run(
        [sys.executable, str(SETUP / "system_tools.py"), "mosquitto"],
        env={"PATH": "/no/such/folder", "MOSQUITTO": "/no/mosquitto"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "sudo apt-get install" in done.stderr.replace("apt-get update && sudo ", "")
    assert "mosquitto" in done.stderr


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 2)])
@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("", "its tests are skipped"),
        ("k1:9092", "those that kill no broker use k1:9092, the others are skipped"),
    ],
)
def test_without_java_or_maven_kafka_is_left_out_with_an_instruction(
    ci: str, status: int, named: str, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(SETUP / "kafka_jars.py")],
        env={"PATH": "/no/such/folder", "CI": ci, "KAFKA_BOOTSTRAP": named},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status
    assert f"Java 17 and mvn missing; {said}" in done.stdout
    assert "apt-get install" in done.stdout
    assert ("KAFKA_BOOTSTRAP" in done.stdout) is (not named)
