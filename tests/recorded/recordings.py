"""The recordings and their mappings, placed where the agent and `replay` can read them."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
REGISTRY = HERE / "registry"
RULES = HERE / "rules"
EXPECTED = HERE / "expected.json"
NAMES = ("cable", "pump", "smoke", "home")
GATEWAYS = {name: f"rec-gw-{name}" for name in NAMES}
DEVICES = {name: f"rec-{name}-01" for name in NAMES}


def place_registry(name: str, folder: Path) -> Path:
    """Write the registry with the device of one recording only: those of the others would count
    as silent while it is played. Returns the registry's folder."""
    placed = folder / f"registry-{name}"
    placed.mkdir()
    for path in REGISTRY.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if path.name == "devices.csv":
            lines = [line for line in lines if line.startswith(("device,", f"{DEVICES[name]},"))]
        (placed / path.name).write_text("".join(lines), encoding="utf-8")
    return placed


def place_mapping(name: str, data: Path, folder: Path) -> Path:
    """Write the mapping of a recording into `folder` with the data's real place in it.

    The recordings are read where they are and never copied. Returns the mapping's path.
    """
    text = (HERE / "mappings" / f"{name}.toml").read_text(encoding="utf-8")
    path = folder / f"{name}.toml"
    path.write_text(text.replace('"DATA/', f'"{data.resolve()}/'), encoding="utf-8")
    return path
