"""Fetch the pinned uv wheel from the configured package index and check it.

The index is the one that uv or pip would use: UV_DEFAULT_INDEX, UV_INDEX_URL, PIP_INDEX_URL,
then pip's configuration files, then the public index. Standard library only.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import html.parser
import json
import os
import platform
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PUBLIC_INDEX = "https://pypi.org/simple"

UV_VERSION = "0.13.9"
WHEELS: dict[str, tuple[str, str]] = {
    "x86_64": (
        "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    "aarch64": (
        "uv-0.13.9-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    ),
}
"""Machine -> (file name, SHA-256 of the file)."""

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
TIMEOUT_S = 60
CHUNK = 1 << 16
SHOW_EVERY = 4 << 20
"""Bytes between two lines of progress."""


class SetupFailed(Exception):
    """Setting up can't go on; the text is one line for the person who started it."""


class Config(NamedTuple):
    """index: address of a simple index, without a slash at the end. certificates: a file, or ""."""

    index: str
    certificates: str


def read_config(environ: dict[str, str] | None = None) -> Config:
    """What uv or pip would use, from the environment and pip's configuration files."""
    env = dict(os.environ) if environ is None else environ
    index = next(
        (
            env[name]
            for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
            if env.get(name)
        ),
        "",
    )
    certificates = env.get("SSL_CERT_FILE") or env.get("PIP_CERT") or ""
    for path in _pip_files(env):
        if index and certificates:
            break
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise SetupFailed(f"{path}: not a pip configuration file: {error}") from error
        index = index or parser.get("global", "index-url", fallback="")
        certificates = certificates or parser.get("global", "cert", fallback="")
    # uv lets an index carry a name: NAME=ADDRESS.
    named = index.split("://", 1)[0]
    if "=" in named:
        index = index[index.index("=") + 1 :]
    return Config((index or PUBLIC_INDEX).rstrip("/"), certificates)


def _pip_files(env: dict[str, str]) -> list[Path]:
    """pip's configuration files, the strongest first."""
    if env.get("PIP_CONFIG_FILE") == os.devnull:
        return []
    home = Path(env.get("HOME") or "/")
    files = [home / ".config/pip/pip.conf", home / ".pip/pip.conf", Path("/etc/pip.conf")]
    if env.get("XDG_CONFIG_HOME"):
        files.insert(0, Path(env["XDG_CONFIG_HOME"]) / "pip/pip.conf")
    if env.get("PIP_CONFIG_FILE"):
        files.insert(0, Path(env["PIP_CONFIG_FILE"]))
    return files


def shown(address: str) -> str:
    """An address without the user and password that it may carry."""
    parts = urllib.parse.urlsplit(address)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def ensure_uv(tools: Path, config: Config, say: Callable[[str], None]) -> Path:
    """The path of the pinned uv under `tools`, fetched and checked when it isn't there yet."""
    binary = tools / f"uv-{UV_VERSION}" / "uv"
    if _is_pinned(binary):
        return binary
    machine = platform.machine()
    if machine not in WHEELS or platform.libc_ver()[0] != "glibc":
        raise SetupFailed(
            f"no pinned uv for this machine ({machine}, {platform.libc_ver()[0] or 'other libc'}); "
            f"put uv {UV_VERSION} at {binary} and start again"
        )
    name, sha256 = WHEELS[machine]
    say(f"fetching uv {UV_VERSION} from {shown(config.index)}")
    wheel = tools / name
    fetch(find(name, config), wheel, config, say)
    check(wheel, sha256)
    say("SHA-256 of uv is the pinned one")
    unpack(wheel, binary)
    wheel.unlink()
    if not _is_pinned(binary):
        raise SetupFailed(f"{binary} doesn't start on this machine")
    return binary


def _is_pinned(binary: Path) -> bool:
    if not binary.exists():
        return False
    try:
        told = subprocess.run([str(binary), "--version"], capture_output=True, check=False)
    except OSError:
        return False  # Torn or for another machine: it is fetched again.
    return told.stdout.decode(errors="replace").split()[:2] == ["uv", UV_VERSION]


def find(name: str, config: Config) -> str:
    """The address of the file `name` on the index's page of uv."""
    page = f"{config.index}/uv/"
    with _open(page, config) as response:
        body = response.read()
        base = response.geturl()
        kind = response.headers.get_content_type()
    for filename, address in _json_links(body) if kind.endswith("json") else _html_links(body):
        if filename == name:
            return with_user(urllib.parse.urljoin(base, address), config.index)
    raise SetupFailed(f"{shown(page)} doesn't list {name}")


def _json_links(body: bytes) -> list[tuple[str, str]]:
    return [(file["filename"], file["url"]) for file in json.loads(body)["files"]]


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href") if tag == "a" else None
        if href:
            path = urllib.parse.urlsplit(href).path
            self.found.append((urllib.parse.unquote(path.rsplit("/", 1)[-1]), href))


def _html_links(body: bytes) -> list[tuple[str, str]]:
    links = _Links()
    links.feed(body.decode("utf-8", errors="replace"))
    return links.found


def with_user(address: str, index: str) -> str:
    """`address` with the index's user and password, where both are on one host."""
    user, _, host = urllib.parse.urlsplit(index).netloc.rpartition("@")
    parts = urllib.parse.urlsplit(address)
    if user and parts.netloc == host:
        parts = parts._replace(netloc=f"{user}@{host}")
    return urllib.parse.urlunsplit(parts)


def fetch(address: str, to: Path, config: Config, say: Callable[[str], None]) -> None:
    """Download `address` to the file `to`, with a line every few megabytes."""
    with _open(address, config) as response, to.open("wb") as out:
        size = int(response.headers.get("Content-Length") or 0)
        got, shown_at = 0, 0
        while True:
            try:
                chunk = response.read(CHUNK)
            except OSError as error:
                raise SetupFailed(f"{shown(address)}: broke off: {error}") from error
            if not chunk:
                break
            out.write(chunk)
            got += len(chunk)
            if got - shown_at >= SHOW_EVERY:
                shown_at = got
                say(
                    f"  {got / 1e6:.0f} of {size / 1e6:.0f} MB" if size else f"  {got / 1e6:.0f} MB"
                )


def check(wheel: Path, sha256: str) -> None:
    """Refuse, and remove, a file that isn't the pinned one."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        wheel.unlink()
        raise SetupFailed(f"{wheel.name} has SHA-256 {found}, pinned is {sha256}: not used")


def unpack(wheel: Path, binary: Path) -> None:
    """Put the wheel's `uv` at `binary`, whole or not at all."""
    binary.parent.mkdir(parents=True, exist_ok=True)
    torn = binary.with_suffix(".part")
    with zipfile.ZipFile(wheel) as archive:
        torn.write_bytes(archive.read(f"uv-{UV_VERSION}.data/scripts/uv"))
    torn.chmod(0o755)
    torn.replace(binary)


def _open(address: str, config: Config):  # type: ignore[no-untyped-def]  # urllib has no name for it
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https"):
        raise SetupFailed(f"{shown(address)}: only http and https indexes are understood")
    user, _, host = parts.netloc.rpartition("@")
    plain = urllib.parse.urlunsplit(parts._replace(netloc=host))
    request = urllib.request.Request(plain)  # noqa: S310 - http and https only, see above
    request.add_header("Accept", ACCEPT)
    request.add_header("User-Agent", "gridwarden-setup")
    if user:
        token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    context = ssl.create_default_context(cafile=config.certificates or None)
    try:
        return urllib.request.urlopen(  # noqa: S310 - http and https only, see above
            request, timeout=TIMEOUT_S, context=context
        )
    except urllib.error.HTTPError as error:
        error.close()
        raise SetupFailed(f"{shown(address)}: answered {error.code} {error.reason}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise SetupFailed(f"{shown(address)}: not reached: {reason}") from error
