#!/usr/bin/env python3
"""Programs from the system's packages that the tests start: install what is missing.

    python3 deploy/setup/system_tools.py mosquitto chromium libatomic strace promtool \
        victoria-metrics influxd

As root it calls apt-get; otherwise it prints the command that needs root and ends with
status 2. promtool and the stores for telemetry are only unpacked into .tools, without root:
installing their packages would start servers that listen to the network. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS: dict[str, tuple[tuple[str, ...], str]] = {
    "mosquitto": (("mosquitto",), "the broker of the tests"),
    "chromium": (
        ("chromium", "chromium-browser", "google-chrome"),
        "the browser that looks at the page",
    ),
    "libatomic": (("libatomic.so.1",), "a library that the driver of the browser is linked with"),
    "strace": (("strace",), "records the writes that the crash tests cut"),
    "promtool": (("promtool",), "Prometheus's own rule tests, an oracle for ours"),
    "victoria-metrics": (("victoria-metrics",), "a server that takes InfluxDB's v2 write API"),
    "influxd": (("influxd",), "InfluxDB 1: the line protocol and InfluxQL from their maker"),
    "gst-rtsp-server": (("GstRtspServer-1.0.typelib",), "a camera for the tests: RTSP"),
}
"""Tool -> (names of its program, what it is for)."""

UNPACKED = {
    "promtool": "prometheus",
    "victoria-metrics": "victoria-metrics",
    "influxd": "influxdb",
}
"""Tool -> the package that is unpacked for it, not installed."""

UNPACKED_IN = Path(__file__).resolve().parents[2] / ".tools" / "system"

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian puts servers; not on the path of a plain user."""


def find(tool: str) -> str | None:
    """The path of a tool's program, or None. `CHROMIUM=/path` and the like win."""
    named = os.environ.get(tool.upper().replace("-", "_"))
    if named:
        return shutil.which(named)
    if tool == "libatomic":
        return next((str(found) for found in Path("/usr").glob("lib*/**/libatomic.so.1")), None)
    if tool == "gst-rtsp-server":
        types = Path("/usr/lib").glob(f"*/girepository-1.0/{TOOLS[tool][0][0]}")
        return next((str(one) for one in types), None)
    path = os.environ.get("PATH", os.defpath) + os.pathsep + SBIN
    path += os.pathsep + str(UNPACKED_IN / "usr" / "bin")
    names = TOOLS[tool][0] if tool in TOOLS else (tool,)
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def package_of(tool: str) -> str:
    """The package that brings a tool, or several. Ubuntu names Chromium's package otherwise."""
    if tool == "gst-rtsp-server":
        plugins = " ".join(f"gstreamer1.0-plugins-{kind}" for kind in ("base", "good", "bad"))
        return f"gir1.2-gst-rtsp-server-1.0 python3-gi {plugins}"
    if tool == "chromium" and _distribution() == "ubuntu":
        return "chromium-browser"
    return "libatomic1" if tool == "libatomic" else UNPACKED.get(tool, tool)


def _distribution() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as lines:
            fields = dict(line.rstrip().split("=", 1) for line in lines if "=" in line)
    except OSError:
        return ""
    return fields.get("ID", "").strip('"')


def install_command(tools: list[str]) -> list[str]:
    packages = [package for tool in tools for package in package_of(tool).split()]
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]


def instruction(tools: list[str]) -> str:
    """The one line that tells a person how to get the tools."""
    return "sudo apt-get update && sudo " + " ".join(install_command(tools))


def main(argv: list[str]) -> int:
    missing = [tool for tool in argv if find(tool) is None]
    if not missing:
        return 0
    for tool in missing:
        print(f"[tools] missing: {tool} ({TOOLS[tool][1]})", flush=True)
    status = _install([tool for tool in missing if tool not in UNPACKED])
    status = status or _unpack([tool for tool in missing if tool in UNPACKED])
    still = [tool for tool in missing if find(tool) is None]
    if not status and still:
        print(f"tools: installed, but not found: {' '.join(still)}", file=sys.stderr)
        return 2
    return status


def _install(missing: list[str]) -> int:
    """By the system's packages; 0 = done, 2 = told what is in the way."""
    if not missing:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        why = "this needs root" if os.geteuid() != 0 else "there is no apt-get here"
        print(f"tools: {why}; run this, then start again:", file=sys.stderr)
        print(f"    {instruction(missing)}", file=sys.stderr)
        return 2
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "--quiet"], install_command(missing)):
        print(f"[tools] {' '.join(command)}", flush=True)
        status = subprocess.run(command, env=env, check=False).returncode
        if status:
            print(f"tools: '{' '.join(command)}' ended with {status}", file=sys.stderr)
            return 2
    return 0


def _unpack(missing: list[str]) -> int:
    """Download packages, checked by apt, and unpack them beside the project."""
    for tool in missing:
        package = UNPACKED[tool]
        if shutil.which("apt-get") is None:
            print(f"tools: there is no apt-get here; put {tool} on the path", file=sys.stderr)
            return 2
        print(f"[tools] apt-get download {package}, unpacked in {UNPACKED_IN}", flush=True)
        UNPACKED_IN.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="gridwarden-tools-") as folder:
            # apt fetches as its own user, which must be able to write there.
            os.chmod(folder, 0o755)  # noqa: S103 - a folder of downloads.
            if not _downloaded(package, folder):
                print(
                    f"tools: apt-get download {package} failed; is the list of packages there?"
                    " (sudo apt-get update)",
                    file=sys.stderr,
                )
                return 2
            archive = next(Path(folder).glob("*.deb"))
            subprocess.run(["dpkg-deb", "--extract", str(archive), str(UNPACKED_IN)], check=True)
    return 0


def _downloaded(package: str, folder: str) -> bool:
    """Download into `folder`; root refreshes the list of packages when that is what's missing."""
    download = ["apt-get", "download", "--quiet", "-o", "APT::Sandbox::User=root", package]
    if subprocess.run(download, cwd=folder, check=False).returncode == 0:
        return True
    if os.geteuid() != 0:
        return False
    subprocess.run(["apt-get", "update", "--quiet"], check=False)
    return subprocess.run(download, cwd=folder, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
