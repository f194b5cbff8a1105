"""Programs of the system that tests need, found where the set-up script finds them.

`MissingTool` becomes a skip with an instruction on a person's machine and a failure in CI; see
`tests/conftest.py`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


class MissingTool(Exception):
    """A program that a test needs isn't installed; the text tells how to get it."""


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def find_tool(name: str) -> str:
    """The path of a program. Raises `MissingTool` with the command that installs it."""
    tools = _system_tools()
    found: str | None = tools.find(name)
    if found is None:
        raise MissingTool(f"{name} is missing; install it: {tools.instruction([name])}")
    return found


def _system_tools() -> ModuleType:
    # One list of tools for set-up and tests.
    return load_script(ROOT / "deploy" / "setup" / "system_tools.py")


def load_script(path: Path) -> ModuleType:
    """A script as a module; the set-up scripts are no package."""
    name = f"gridwarden_script_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
