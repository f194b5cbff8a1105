#!/usr/bin/env python3
"""Set up gridwarden's environment with nothing but Python's standard library.

    python3 deploy/setup/bootstrap.py server     what `make run` needs
    python3 deploy/setup/bootstrap.py dev        what `make test` needs

Fetches a pinned uv from the configured package index, checks its SHA-256 and lets it install
the locked packages into `.venv` with the Python that runs this file. Needs no pip, no
ensurepip, no root. A second run with nothing to do ends at once. Exit status: 0 ready, 2 not.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

if sys.version_info < (3, 11):  # noqa: UP036 - the one file that an older Python may start
    sys.exit(
        f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]} "
        f"({sys.executable}); name another one: make PYTHON=/usr/bin/python3.11 ..."
    )

import package_index
from package_index import SetupFailed

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
STAMP = VENV / "gridwarden-setup.json"
PUBLIC_INDEX = package_index.PUBLIC_INDEX


class Stamp(NamedTuple):
    """locked: digest of what was installed. extras: which of them."""

    locked: str
    extras: list[str]


_began = time.monotonic()


def say(text: str) -> None:
    print(f"[setup {time.monotonic() - _began:6.1f} s] {text}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Set up gridwarden's environment.")
    parser.add_argument("extras", nargs="+", help="extras of pyproject.toml, such as server")
    wanted = parser.parse_args(argv).extras
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        # Two runs of make at once must not write one environment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            set_up(wanted)
        except SetupFailed as failure:
            print(f"setup: {failure}", file=sys.stderr)
            return 2
    return 0


def set_up(wanted: list[str]) -> None:
    locked = lock_digest()
    done = read_stamp()
    current = done is not None and done.locked == locked
    if done is not None and current and set(wanted) <= set(done.extras) and interpreter_works():
        return
    say(f"Python {sys.version.split()[0]} at {sys.executable}; packages for: {' '.join(wanted)}")
    config = package_index.read_config()
    uv = package_index.ensure_uv(TOOLS, config, say)
    install(uv, wanted, config)
    if not interpreter_works():
        raise SetupFailed(f"{VENV} was made, but its Python doesn't start")
    # What earlier runs installed stays installed: extras add up until the lock changes.
    kept = done.extras if done is not None and current else []
    stamp = {"locked": locked, "extras": sorted({*wanted, *kept})}
    STAMP.write_text(json.dumps(stamp) + "\n")
    say("ready")


def install(uv: Path, wanted: list[str], config: package_index.Config) -> None:
    env = uv_environment(config)
    extras = [part for extra in wanted for part in ("--extra", extra)]
    if not interpreter_works():
        # Naming the interpreter makes uv replace an environment of another one, so an
        # environment that works is left as it is.
        say("making .venv")
        call([str(uv), "venv", "--clear", "--python", sys.executable, str(VENV)], env)
    if config.index == PUBLIC_INDEX:
        say("installing the locked packages (uv.lock)")
        call([str(uv), "sync", "--frozen", "--inexact", *extras], env)
        return
    # The lock names the public index's own addresses. Behind a mirror the same versions are
    # asked of the mirror, and each file is still checked against the lock's hashes.
    say(f"installing the locked packages (uv.lock) from {package_index.shown(config.index)}")
    listed = TOOLS / "locked.txt"
    plain = ["--format", "requirements.txt", "--no-emit-project", "--quiet"]
    call([str(uv), "export", "--frozen", *plain, *extras, "--output-file", str(listed)], env)
    python = ["--python", str(VENV / "bin" / "python")]
    whole = ["--no-deps", "--require-hashes", "-r", str(listed)]
    call([str(uv), "pip", "install", *python, *whole], env)
    call([str(uv), "pip", "install", *python, "--no-deps", "--editable", str(ROOT)], env)


def uv_environment(config: package_index.Config) -> dict[str, str]:
    """The caller's environment, and that uv downloads no Python and trusts what the system does."""
    env = dict(os.environ)
    env["UV_PYTHON_DOWNLOADS"] = "never"
    env["UV_PROJECT_ENVIRONMENT"] = str(VENV)
    env.pop("VIRTUAL_ENV", None)
    # uv may sit on another disk than its cache; copying is then the only way and no fault.
    env.setdefault("UV_LINK_MODE", "copy")
    env.setdefault("UV_SYSTEM_CERTS", "true")
    if config.certificates:
        env.setdefault("SSL_CERT_FILE", config.certificates)
    if config.index != PUBLIC_INDEX:
        env["UV_DEFAULT_INDEX"] = config.index
    return env


def call(command: list[str], env: dict[str, str]) -> None:
    status = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    if status:
        raise SetupFailed(f"'{' '.join(command[:3])} ...' ended with status {status}, see above")


def interpreter_works() -> bool:
    python = VENV / "bin" / "python"
    if not python.exists():
        return False
    probe = [str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def lock_digest() -> str:
    """Names what would be installed: the lock, the project file and this checkout's place."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("uv.lock", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp() -> Stamp | None:
    """What the last run left; None when there is none or it is torn, and the work is done again."""
    try:
        stamp = json.loads(STAMP.read_text())
        return Stamp(str(stamp["locked"]), [str(extra) for extra in stamp["extras"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
