#!/usr/bin/env python3
"""Programs from the system's packages that the tests start: install what is missing.

    python3 deploy/setup/system_tools.py mosquitto chromium strace

As root it calls apt-get; otherwise it prints the command that needs root and ends with
status 2. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

TOOLS: dict[str, tuple[tuple[str, ...], str]] = {
    "mosquitto": (("mosquitto",), "the broker of the tests"),
    "chromium": (
        ("chromium", "chromium-browser", "google-chrome"),
        "the browser that looks at the page",
    ),
    "strace": (("strace",), "records the writes that the crash tests cut"),
}
"""Tool -> (names of its program, what it is for)."""

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian puts servers; not on the path of a plain user."""


def find(tool: str) -> str | None:
    """The path of a tool's program, or None. `CHROMIUM=/path` and the like win."""
    named = os.environ.get(tool.upper())
    if named:
        return shutil.which(named)
    path = os.environ.get("PATH", os.defpath) + os.pathsep + SBIN
    names = TOOLS[tool][0] if tool in TOOLS else (tool,)
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def package_of(tool: str) -> str:
    """The package that brings a tool. Ubuntu names Chromium's package otherwise."""
    if tool == "chromium" and _distribution() == "ubuntu":
        return "chromium-browser"
    return tool


def _distribution() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as lines:
            fields = dict(line.rstrip().split("=", 1) for line in lines if "=" in line)
    except OSError:
        return ""
    return fields.get("ID", "").strip('"')


def install_command(tools: list[str]) -> list[str]:
    packages = [package_of(tool) for tool in tools]
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
    still = [tool for tool in missing if find(tool) is None]
    if still:
        print(f"tools: installed, but not found: {' '.join(still)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
