"""Folders of rules that build on one another: the pack that comes along, a district, a street.

A layer is a folder. A file of it says `extends: shipped`, or the relative path of another folder;
that one is the layer below. Names of files tell the layers apart, so that they can be packed
together: those of the shipped pack begin with `shipped:`, those of another folder with its path
as seen from the topmost folder, as in `../district/overrides.yml`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

SHIPPED = "shipped"
SHIPPED_PREFIX = "shipped:"
TOP = ""

_OWN_NAME = "local"


@dataclass(frozen=True, slots=True)
class Extends:
    """What one file says of its layer. extends, name: "" = nothing; with their lines."""

    file: str
    extends: str = ""
    line: int = 0
    name: str = ""
    name_line: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """file, line, key: where. problem, mend: as in findings."""

    file: str
    line: int
    key: str
    problem: str
    mend: str


@dataclass(frozen=True, slots=True)
class Layer:
    """root: `TOP`, `shipped:` or a path. name: what people call it."""

    root: str
    name: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layers:
    """all: the lowest first. wanted: (file, line, root) of a layer without files, or None."""

    all: tuple[Layer, ...]
    wanted: tuple[str, int, str] | None = None
    faults: tuple[Fault, ...] = ()
    _of: dict[str, int] = field(default_factory=dict)

    def rank(self, file: str) -> int:
        """0 = the lowest."""
        return self._of[file]

    def name(self, file: str) -> str:
        return self.all[self._of[file]].name


def arranged(said: Sequence[Extends]) -> Layers:
    """The layers of files that are read together; each says what its file says."""
    faults: list[Fault] = []
    roots: list[str] = [TOP]
    by_root: dict[str, list[Extends]] = {}
    wanted = None
    asked_by = ("", 0)
    while True:
        root = roots[-1]
        mine = [one for one in said if _root_of(one.file, roots) == root]
        by_root[root] = mine
        if not mine and root != TOP:
            wanted = (*asked_by, root)
            break
        asking = _asking(mine, faults)
        if asking is None:
            break
        target, problem = _target(asking, root, roots)
        if problem:
            mend = "write shipped, or the path of a folder beside this one, as in ../district"
            faults.append(Fault(asking.file, asking.line, "extends", problem, mend))
            break
        asked_by = (asking.file, asking.line)
        roots.append(target)
    placed = {one.file for mine in by_root.values() for one in mine}
    by_root[TOP] += [one for one in said if one.file not in placed]
    layers = tuple(
        Layer(root, _name(root, by_root[root], faults), tuple(one.file for one in by_root[root]))
        for root in reversed(roots)
    )
    rank = {file: number for number, layer in enumerate(layers) for file in layer.files}
    return Layers(layers, wanted, tuple(faults), rank)


def _root_of(file: str, roots: Sequence[str]) -> str | None:
    """The layer of a file among those that are known; None = it is of none of them."""
    if file.startswith(SHIPPED_PREFIX):
        return SHIPPED_PREFIX if SHIPPED_PREFIX in roots else None
    inside = [root for root in roots if root != SHIPPED_PREFIX and _is_inside(file, root)]
    return max(inside, key=len, default=None)


def _is_inside(path: str, root: str) -> bool:
    if root == TOP:
        return not path.startswith("../")
    return path.startswith(f"{root}/")


def _asking(mine: Sequence[Extends], faults: list[Fault]) -> Extends | None:
    """The file that says what the layer builds on; several may say the same."""
    asking = [one for one in mine if one.extends]
    for one in asking[1:]:
        first = asking[0]
        if _path(one) != _path(first):
            problem = f"{first.file}:{first.line} extends {first.extends}"
            faults.append(Fault(one.file, one.line, "extends", problem, "a folder builds on one"))
    return asking[0] if asking else None


def _path(one: Extends) -> str:
    if one.extends == SHIPPED:
        return SHIPPED_PREFIX
    return posixpath.normpath(posixpath.join(posixpath.dirname(one.file), one.extends))


def _target(asking: Extends, root: str, roots: Sequence[str]) -> tuple[str, str]:
    """The root that a file names, and what is wrong with it."""
    target = _path(asking)
    above = all(part in ("..", ".") for part in target.split("/")) or root.startswith(f"{target}/")
    if root == SHIPPED_PREFIX:
        return target, "the pack that comes along builds on nothing"
    if asking.extends.startswith("/") or "\\" in asking.extends:
        return target, "not a relative path"
    if target in roots:
        return target, f"goes round in a circle: {asking.extends} builds on this folder"
    if target != SHIPPED_PREFIX and (above or _is_inside(target, root)):
        return target, f"{asking.extends} and this folder stand inside one another"
    return target, ""


def _name(root: str, mine: Sequence[Extends], faults: list[Fault]) -> str:
    named = [one for one in mine if one.name]
    for one in named[1:]:
        if one.name != named[0].name:
            problem = f"{named[0].file}:{named[0].name_line} calls this layer {named[0].name}"
            faults.append(Fault(one.file, one.name_line, "layer", problem, "one name a folder"))
    if named:
        return named[0].name
    if root == SHIPPED_PREFIX:
        return SHIPPED
    return posixpath.basename(root) or _OWN_NAME


def missing_layer(files: Mapping[str, str]) -> tuple[str, int, str] | None:
    """(file, line, root) of the next folder that must be read too; None = all are there."""
    return arranged([_glance(file, text) for file, text in sorted(files.items())]).wanted


def _glance(file: str, text: str) -> Extends:
    """Only `extends`; what else is wrong with the file is found when it is compiled."""
    if "extends" not in text:
        return Extends(file)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return Extends(file)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if isinstance(value, yaml.ScalarNode) and key.value == "extends":
            return Extends(file, str(value.value).strip(), value.start_mark.line + 1)
    return Extends(file)
