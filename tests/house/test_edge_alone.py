"""The agent's modules import with nothing but their own extra: a plain one has no video."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tests.parts.tools import ROOT

MODULE_OF = {"paho-mqtt": "paho", "opencv-python-headless": "cv2"}

PROBE = """
import importlib, importlib.abc, pkgutil, sys
allowed = set(sys.argv[1].split(","))

class OnlyTheExtra(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        standard = top in sys.stdlib_module_names or top.startswith("_sysconfigdata")
        if top not in allowed and not standard:
            raise ModuleNotFoundError(f"{name} is not in the extra", name=name)
        return None

sys.meta_path.insert(0, OnlyTheExtra())
import edge
extra = sys.argv[2]
found = [module.name for module in pkgutil.walk_packages(edge.__path__, "edge.")]
names = [name for name in found if name.startswith("edge.camera.") == (extra == "camera")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.mark.parametrize("extra", ["edge", "camera"])
def test_the_agent_needs_only_its_extra(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *optional["edge"], *optional[extra]]
    names = [re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in wanted]
    allowed = {"edge", "contracts", *(MODULE_OF.get(name, name) for name in names)}

    probe = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(sorted(allowed)), extra],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert probe.returncode == 0, probe.stderr
    assert int(probe.stdout) > 0
