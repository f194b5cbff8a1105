"""Snapshots of an engine, and what becomes of them under another rule set or registry.

State is kept under the ids of rules and the names of quantities. A rule keeps its state when it
is unchanged, and when only its numbers changed (`Rule.shape` is the same): running durations
survive a changed threshold, and are judged by the new rule from the next reading or mark on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.quantities import FAMILIES, FAMILY_INDEX
from contracts.transitions import Episode
from rules.entries import names
from rules.instances import NAMES, NEVER_MS, State
from rules.members import NOT_WATCHED
from rules.memory import Memory
from rules.parts import Parts
from rules.ruleset import Rule
from rules.scan import Scan, Stream

VERSION = 2

Outcome = Literal["kept", "migrated", "reset"]


class SnapshotInvalid(Exception):
    """A snapshot that this version can't read."""


class Carried(msgspec.Struct, frozen=True):
    """What became of one rule's state."""

    rule: str
    outcome: Outcome
    why: str


class _SavedRule(msgspec.Struct, frozen=True, array_like=True):
    """A machine row. part: "" also in snapshots that knew one row a rule."""

    id: str
    hash: str
    shape: str
    part: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return (self.id, self.part)


class _SavedColumn(msgspec.Struct, frozen=True, array_like=True):
    dtype: str
    data: bytes


class _SavedMemory(msgspec.Struct, frozen=True, array_like=True):
    mode: str
    family: str
    stream: Stream
    quantity: str
    device: _SavedColumn
    value: _SavedColumn
    ts_ms: _SavedColumn


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    quantities: tuple[str, ...]
    rules: tuple[_SavedRule, ...]
    instances: dict[str, _SavedColumn]
    memories: tuple[_SavedMemory, ...]
    heard_device: _SavedColumn
    heard_ms: _SavedColumn
    told: dict[str, _SavedColumn]
    """By rule id; a part stands behind it as in `efire.off/missing`."""
    derived: dict[str, dict[str, dict[str, _SavedColumn]]]


def pack(parts: Parts) -> bytes:
    """All state as bytes, little-endian; the same state gives the same bytes."""
    state = parts.instances.gather(parts.instances.slots())
    state = state.take(np.lexsort((state.device, state.lane, state.rule)))
    heard = np.flatnonzero(parts.silence.heard_ms > NEVER_MS)
    saved = _Saved(
        version=VERSION,
        quantities=names(parts.ruleset.derived),
        rules=tuple(_SavedRule(r.id, r.card.hash, r.shape, r.part) for r in parts.ruleset.rules),
        instances={name: _save(getattr(state, name)) for name in NAMES},
        memories=tuple(_pack_memories(parts)),
        heard_device=_save(heard.astype(np.int32)),
        heard_ms=_save(parts.silence.heard_ms[heard]),
        told={_name(rule): _save(_told(parts, n)) for n, rule in parts.silence.rules.items()},
        derived={name: _save_all(kept) for name, kept in parts.derive.state()},
    )
    return msgspec.msgpack.encode(saved)


def _name(rule: Rule | _SavedRule) -> str:
    return f"{rule.id}/{rule.part}" if rule.part else rule.id


def _told(parts: Parts, number: int) -> NDArray[np.int32]:
    """Directory rows of the devices whose present silence is known."""
    rows = parts.members.rows(parts.members.family_of(number))
    return rows[parts.silence.told[number][: len(rows)]]


def unpack(parts: Parts, blob: bytes, remap: NDArray[np.int32] | None) -> tuple[Carried, ...]:
    """Fill freshly built parts. remap: old directory row -> new row or -1, None = the same.

    Raises `SnapshotInvalid`.
    """
    try:
        saved = msgspec.msgpack.decode(blob, type=_Saved)
    except msgspec.DecodeError as error:
        raise SnapshotInvalid(f"no snapshot of rules: {error}") from None
    if saved.version != VERSION:
        raise SnapshotInvalid(f"snapshot version {saved.version}, this is {VERSION}")
    rows = _Rows(len(parts.directory), remap)
    rule_of = _matching(parts, saved)
    left = _unpack_instances(parts, saved, rule_of, rows)
    _unpack_memories(parts, saved, rows)
    for name, kept in saved.derived.items():
        loaded = {key: _load_all(columns) for key, columns in kept.items()}
        parts.derive.load(name, loaded, rows.new)
    _unpack_silence(parts, saved, rule_of, rows)
    return _report(parts, saved, rule_of, left)


class _Rows:
    """Old directory rows to new ones."""

    def __init__(self, known: int, remap: NDArray[np.int32] | None) -> None:
        self._known = known
        self._remap = remap

    def new(self, old: NDArray[np.int32]) -> NDArray[np.int32]:
        """int32, -1 = gone."""
        if self._remap is None:
            return np.where(old < self._known, old, -1).astype(np.int32)
        if not len(self._remap):
            return np.full(len(old), -1, np.int32)
        inside = old < len(self._remap)
        moved = np.where(inside, self._remap[np.where(inside, old, 0)], -1)
        return moved.astype(np.int32)


def _matching(parts: Parts, saved: _Saved) -> NDArray[np.int16]:
    """Per saved machine row: its row now, -1 where its state can't be used."""
    now = {rule.key: (row, rule.shape) for row, rule in enumerate(parts.ruleset.rules)}
    found = [now.get(old.key, (-1, "")) for old in saved.rules]
    usable = [
        row if shape == old.shape else -1
        for (row, shape), old in zip(found, saved.rules, strict=True)
    ]
    return np.array(usable, np.int16)


def _unpack_instances(
    parts: Parts, saved: _Saved, rule_of: NDArray[np.int16], rows: _Rows
) -> Counter[str]:
    """Rule id -> how many instances were left behind."""
    state = State(*(_load(saved.instances[name]) for name in NAMES))
    left: Counter[str] = Counter()
    if not len(state):
        return left
    names = [old.id for old in saved.rules]
    old_rule = state.rule
    index = _index(parts)
    quantity_of = np.array([index.get(name, -1) for name in saved.quantities] + [-1])
    state.rule = rule_of[old_rule]
    state.device = rows.new(state.device)
    state.quantity = quantity_of[state.quantity].astype(np.int16)
    keep = (state.rule >= 0) & (state.device >= 0)
    for row in np.flatnonzero(keep).tolist():
        # A restart: one look per active instance is cheap against reading the log.
        rank = parts.members.rank[state.device[row]]
        rule = int(state.rule[row])
        family = parts.members.family_of(rule)
        same = int(parts.directory.family[state.device[row]]) == family
        keep[row] = same and parts.members.slots(Episode.LIVE, rule)[rank] != NOT_WATCHED
    left.update(names[rule] for rule in old_rule[~keep & (state.rule >= 0)].tolist())
    parts.insert(state.take(keep))
    return left


def _index(parts: Parts) -> dict[str, int]:
    """Quantities by name, derived ones too."""
    return {name: number for number, name in enumerate(names(parts.ruleset.derived))}


def _report(
    parts: Parts, saved: _Saved, rule_of: NDArray[np.int16], left: Counter[str]
) -> tuple[Carried, ...]:
    """One entry for each public rule of then or now."""
    now = {card.id: card for card in parts.ruleset.cards}
    then: dict[str, list[tuple[_SavedRule, int]]] = {}
    for old, row in zip(saved.rules, rule_of.tolist(), strict=True):
        then.setdefault(old.id, []).append((old, row))
    report = [Carried(name, "reset", "the rule is new") for name in now if name not in then]
    for name, rows in then.items():
        if name not in now:
            report.append(Carried(name, "reset", "the rule is gone"))
            continue
        outcome, why = _became(parts, now[name].hash, rows)
        if outcome != "reset" and left[name]:
            why += f"; {left[name]} instances left: their devices are no longer watched"
        report.append(Carried(name, outcome, why))
    return tuple(sorted(report, key=lambda carried: carried.rule))


def _became(parts: Parts, new_hash: str, rows: list[tuple[_SavedRule, int]]) -> tuple[Outcome, str]:
    """What became of the machine rows of one public rule, and why."""
    if all(row >= 0 and old.hash == new_hash for old, row in rows):
        return "kept", "unchanged"
    lost = [old for old, row in rows if row < 0]
    if not lost:
        return "migrated", "only its numbers or selection changed"
    shape_of = {rule.key: rule.shape for rule in parts.ruleset.rules}
    told = [
        f"{old.part or 'it'} asks something else: {old.shape} became {shape_of[old.key]}"
        if old.key in shape_of
        else f"{old.part or 'what it was as a whole'} is gone"
        for old in lost
    ]
    return ("reset" if len(lost) == len(rows) else "migrated"), "; ".join(told)


def _pack_memories(parts: Parts) -> list[_SavedMemory]:
    saved = []
    name_of = names(parts.ruleset.derived)
    for mode, scan in _scans(parts):
        for (family, stream), memory in sorted(scan.memories.items()):
            rows = parts.members.rows(family)
            for quantity, kept in memory.kept.items():
                known = np.flatnonzero(kept.ts_ms > NEVER_MS)
                saved.append(
                    _SavedMemory(
                        mode,
                        FAMILIES[family],
                        stream,
                        name_of[quantity],
                        _save(rows[known]),
                        _save(kept.value[known]),
                        _save(kept.ts_ms[known]),
                    )
                )
    return saved


def _unpack_memories(parts: Parts, saved: _Saved, rows: _Rows) -> None:
    scans = dict(_scans(parts))
    index = _index(parts)
    for part in saved.memories:
        family = FAMILY_INDEX.get(part.family, -1)
        memory = scans[part.mode].known_memory(family, part.stream)
        quantity = index.get(part.quantity, -1)
        if memory is not None and quantity in memory.kept:
            _fill(parts, memory, quantity, family, part, rows)


def _fill(
    parts: Parts, memory: Memory, quantity: int, family: int, part: _SavedMemory, rows: _Rows
) -> None:
    kept = memory.kept[quantity]
    kept.make_room(parts.members.room(family))
    device = rows.new(_load(part.device))
    there = np.flatnonzero(device >= 0)
    there = there[parts.directory.family[device[there]] == family]
    rank = parts.members.rank[device[there]]
    kept.value[rank] = _load(part.value)[there]
    kept.ts_ms[rank] = _load(part.ts_ms)[there]


def _unpack_silence(parts: Parts, saved: _Saved, rule_of: NDArray[np.int16], rows: _Rows) -> None:
    silence = parts.silence
    if silence.rules:
        device = rows.new(_load(saved.heard_device))
        there = np.flatnonzero(device >= 0)
        silence.heard_ms[device[there]] = _load(saved.heard_ms)[there]
    names = {_name(old): row for old, row in zip(saved.rules, rule_of.tolist(), strict=True)}
    for name, column in saved.told.items():
        number = names[name]
        if number not in silence.rules:
            continue
        device = rows.new(_load(column))
        device = device[device >= 0]
        family = parts.members.family_of(number)
        device = device[parts.directory.family[device] == family]
        silence.told[number][parts.members.rank[device]] = True
    silence.grow()


def _scans(parts: Parts) -> tuple[tuple[str, Scan], ...]:
    return ("instant", parts.instant), ("timed", parts.timed)


def _save(column: NDArray[np.generic]) -> _SavedColumn:
    dtype = column.dtype.newbyteorder("<")
    return _SavedColumn(dtype.str, column.astype(dtype, copy=False).tobytes())


def _save_all(
    kept: Mapping[str, Mapping[str, NDArray[Any]]],
) -> dict[str, dict[str, _SavedColumn]]:
    return {
        key: {name: _save(column) for name, column in sorted(columns.items())}
        for key, columns in sorted(kept.items())
    }


def _load_all(columns: dict[str, _SavedColumn]) -> dict[str, NDArray[Any]]:
    return {name: _load(column) for name, column in columns.items()}


def _load(column: _SavedColumn) -> NDArray[Any]:
    found = np.frombuffer(column.data, np.dtype(column.dtype))
    return found.astype(found.dtype.newbyteorder("="))
