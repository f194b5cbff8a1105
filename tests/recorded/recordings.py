"""The recordings and their mappings, placed where the agent and `replay` can read them."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
REGISTRY = HERE / "registry"
RULES = HERE / "rules"
EXPECTED = HERE / "expected.json"
GATEWAY = "rec-gw-01"
NAMES = ("cable", "pump", "smoke", "home")


def place_mapping(name: str, data: Path, folder: Path) -> Path:
    """Write the mapping of a recording into `folder` with the data's real place in it.

    The recordings are read where they are and never copied. Returns the mapping's path.
    """
    text = (HERE / "mappings" / f"{name}.toml").read_text(encoding="utf-8")
    path = folder / f"{name}.toml"
    path.write_text(text.replace('"DATA/', f'"{data.resolve()}/'), encoding="utf-8")
    return path
