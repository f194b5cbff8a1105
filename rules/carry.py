"""Snapshots of an engine, and what becomes of them under another rule set or registry.

State is kept under the ids of rules and the names of quantities. A rule keeps its state when it
is unchanged, and when only its numbers changed (`Rule.shape` is the same): running durations
survive a changed threshold, and are judged by the new rule from the next reading or mark on.

While rules change at an event time, devices move from one engine to another one by one, so both
ways know a `Subset`. A kind of state joins by three habits: `pack` writes it only when its kind
is in `subset.kinds`, `unpack` places rows through `_Rows.new` (which gives -1 for devices that
aren't meant), and `unpack` adds to what is there instead of replacing it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.quantities import FAMILIES, FAMILY_INDEX
from contracts.transitions import Episode
from rules.carry_episodes import (
    Meets,
    pack_dropped,
    pack_flaps,
    pack_standing,
    unpack_dropped,
    unpack_flaps,
    unpack_standing,
)
from rules.compared import Carried, Known, as_now, compared, known, public_id
from rules.entries import names
from rules.group.carry import (
    SavedGroups,
    SavedQuestions,
    Unpacking,
    pack_groups,
    pack_questions,
)
from rules.instances import NAMES, NEVER_MS, State
from rules.members import NOT_WATCHED
from rules.memory import Memory
from rules.parts import Parts
from rules.pending import judged_anew
from rules.pieces import UNASKED
from rules.ruleset import Rule
from rules.saved import SavedColumn as _SavedColumn
from rules.saved import load as _load
from rules.saved import save as _save
from rules.scan import Scan, Stream
from rules.subset import EVERYTHING, Subset

VERSION = 3


_NO_ROWS = np.empty(0, np.intp)


class SnapshotInvalid(Exception):
    """A snapshot that this version can't read."""


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
    rules: tuple[Known, ...]
    instances: dict[str, _SavedColumn]
    memories: tuple[_SavedMemory, ...]
    heard_device: _SavedColumn
    heard_ms: _SavedColumn
    standing: dict[str, _SavedColumn] = {}
    flaps: dict[str, _SavedColumn] = {}
    dropped: dict[str, dict[str, int]] = {}
    told: dict[str, _SavedColumn]
    """By rule id; a part stands behind it as in `efire.off/missing`."""
    derived: dict[str, dict[str, dict[str, _SavedColumn]]]
    questions: SavedQuestions = SavedQuestions()
    groups: SavedGroups = SavedGroups()


_saved_decoder = msgspec.msgpack.Decoder(_Saved)


def pack(parts: Parts, subset: Subset = EVERYTHING) -> bytes:
    """State as bytes, little-endian; the same state gives the same bytes."""
    state = parts.instances.gather(parts.instances.slots())
    if subset is not EVERYTHING:
        rules = parts.ruleset.rules
        covered = np.array([subset.covers(rule.mode, rule.id) for rule in rules], np.bool_)
        state = state.take(covered[state.rule] & subset.has(state.device))
    state = state.take(np.lexsort((state.device, state.lane, state.rule)))
    silence = parts.silence
    timed = "timed" in subset.kinds
    heard = subset.of(np.flatnonzero(silence.heard_ms > NEVER_MS)) if timed else _NO_ROWS
    told = {n: subset.of(_told(parts, n)) for n in silence.rules} if timed else {}
    derived = parts.derive.state() if timed else ()
    saved = _Saved(
        version=VERSION,
        quantities=names(parts.ruleset.derived),
        rules=known(parts.ruleset),
        instances={name: _save(getattr(state, name)) for name in NAMES},
        memories=tuple(_pack_memories(parts, subset)),
        standing=pack_standing(parts, subset),
        flaps=pack_flaps(parts, subset),
        dropped=pack_dropped(parts) if "whole" in subset.kinds else {},
        heard_device=_save(heard.astype(np.int32)),
        heard_ms=_save(silence.heard_ms[heard]),
        told={_name(parts.ruleset.rules[n]): _save(rows) for n, rows in told.items()},
        derived={name: _save_all(kept) for name, kept in derived},
        questions=_pack_questions(parts, subset) if timed else SavedQuestions(),
        groups=_pack_groups(parts) if "whole" in subset.kinds else SavedGroups(),
    )
    return msgspec.msgpack.encode(saved)


def _name(rule: Rule | Known) -> str:
    return f"{rule.id}/{rule.part}" if rule.part else rule.id


def _told(parts: Parts, number: int) -> NDArray[np.int32]:
    """Directory rows of the devices whose present silence is known."""
    rows = parts.members.rows(parts.members.family_of(number))
    return rows[parts.silence.told[number][: len(rows)]]


def unpack(
    parts: Parts, blob: bytes, remap: NDArray[np.int32] | None, subset: Subset = EVERYTHING
) -> tuple[Carried, ...]:
    """Add the state to parts that hold nothing yet of the devices and kinds that come.

    remap: old directory row -> new row or -1, None = the same. subset: what `pack` was asked
    for, in old rows. Raises `SnapshotInvalid`.
    """
    try:
        saved = _saved_decoder.decode(blob)
    except msgspec.DecodeError as error:
        raise SnapshotInvalid(f"no snapshot of rules: {error}") from None
    if saved.version != VERSION:
        raise SnapshotInvalid(f"snapshot version {saved.version}, this is {VERSION}")
    saved = msgspec.structs.replace(saved, rules=as_now(saved.rules, parts.ruleset))
    rows = _Rows(len(parts.directory), remap, subset)
    rule_of = _matching(parts, saved)
    arrived, left = _unpack_instances(parts, saved, rows)
    unpack_standing(parts, saved.standing, saved.rules, arrived, rows.new)
    unpack_flaps(parts, saved.flaps, _meets(parts, saved), rows.new)
    unpack_dropped(parts, saved.dropped)
    _unpack_memories(parts, saved, rows)
    unpacking = Unpacking(
        parts.predicates,
        parts.groups,
        members=parts.members,
        directory=parts.directory,
        new=rows.new,
    )
    if "timed" in subset.kinds:
        for name, kept in saved.derived.items():
            loaded = {key: _load_all(columns) for key, columns in kept.items()}
            parts.derive.load(name, loaded, rows.new)
        _unpack_silence(parts, saved, rows)
        unpacking.fill_questions(saved.questions, rule_of, _index(parts))
    if "whole" in subset.kinds:
        gone = unpacking.fill_groups(saved.groups, rule_of)
        left.update({saved.rules[row].id: number for row, number in gone.items()})
    return compared(saved.rules, parts.ruleset, left)


class _Rows:
    """Old directory rows to new ones."""

    def __init__(self, size: int, remap: NDArray[np.int32] | None, subset: Subset) -> None:
        self._known = size
        self._remap = remap
        self._subset = subset

    def new(self, old: NDArray[np.int32]) -> NDArray[np.int32]:
        """int32, -1 = gone, or not meant."""
        return np.where(self._subset.has(old), self._moved(old), -1).astype(np.int32)

    def _moved(self, old: NDArray[np.int32]) -> NDArray[np.int32]:
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


def _variants(parts: Parts, saved: _Saved) -> list[list[int]]:
    """Per saved machine row: the rows now that its state can be used by, that of the same name
    first. A device meets one of the variants of its rule, perhaps another one than before."""
    now: dict[tuple[str, str, str], list[int]] = {}
    for row, rule in enumerate(parts.ruleset.rules):
        now.setdefault((rule.id, rule.part, rule.shape), []).append(row)
    found = []
    for old, same in zip(saved.rules, _matching(parts, saved).tolist(), strict=True):
        others = now.get((public_id(old.id), old.part, old.shape), [])
        found.append([same] * (same >= 0) + [row for row in others if row != same])
    return found


def _unpack_instances(parts: Parts, saved: _Saved, rows: _Rows) -> tuple[State, Counter[str]]:
    """The instances that came, and name of the rule -> how many were left behind."""
    state = State(*(_load(saved.instances[name]) for name in NAMES))
    left: Counter[str] = Counter()
    if not len(state):
        return state, left
    names = [old.id for old in saved.rules]
    old_rule = state.rule
    quantity_of = _quantity_of(parts, saved)
    variants = _variants(parts, saved)
    state.rule = np.array([variants[n][0] if variants[n] else -1 for n in old_rule], np.int16)
    state.device = rows.new(state.device)
    state.quantity = quantity_of[state.quantity].astype(np.int16)
    keep = (state.rule >= 0) & (state.device >= 0)
    for old in np.unique(old_rule[keep]).tolist():
        mine = np.flatnonzero(keep & (old_rule == old))
        met = _met(parts, variants[old], state.device[mine])
        keep[mine] = met >= 0
        state.rule[mine] = np.maximum(met, 0)
    left.update(names[rule] for rule in old_rule[~keep & (state.rule >= 0)].tolist())
    arrived = state.take(keep)
    arrived = arrived.take(~judged_anew(arrived, parts.ruleset, parts.members))
    parts.insert(arrived)
    parts.look_again(arrived.device)
    return arrived, left


def _meets(parts: Parts, saved: _Saved) -> Meets:
    variants = _variants(parts, saved)

    def row(old: int, device: int) -> int:
        return next((rule for rule in variants[old] if _watches(parts, rule, device)), -1)

    return row


def _watches(parts: Parts, rule: int, device: int) -> bool:
    members = parts.members
    if int(parts.directory.family[device]) != members.family_of(rule):
        return False
    return bool(members.slots(Episode.LIVE, rule)[members.rank[device]] != NOT_WATCHED)


def _met(parts: Parts, variants: list[int], devices: NDArray[np.int32]) -> NDArray[np.int16]:
    """Per device the first of the variants that watches it, -1 = none: `_meets` for many."""
    members = parts.members
    found = np.full(len(devices), -1, np.int16)
    for rule in variants:
        open_ = np.flatnonzero(found < 0)
        open_ = open_[parts.directory.family[devices[open_]] == members.family_of(rule)]
        slots = members.slots(Episode.LIVE, rule)[members.rank[devices[open_]]]
        found[open_[slots != NOT_WATCHED]] = rule
    return found


def _index(parts: Parts) -> dict[str, int]:
    """Quantities by name, derived ones too."""
    return {name: number for number, name in enumerate(names(parts.ruleset.derived))}


def _quantity_of(parts: Parts, saved: _Saved) -> NDArray[np.int64]:
    """Saved quantity -> index now; the last entry serves -1."""
    index = _index(parts)
    return np.array([index.get(name, -1) for name in saved.quantities] + [-1], np.int64)


def _pack_questions(parts: Parts, subset: Subset) -> SavedQuestions:
    return pack_questions(
        parts.predicates, parts.members, names=names(parts.ruleset.derived), of=subset.has
    )


def _pack_groups(parts: Parts) -> SavedGroups:
    return pack_groups(parts.groups, parts.members, parts.directory)


def _pack_memories(parts: Parts, subset: Subset) -> list[_SavedMemory]:
    saved = []
    name_of = names(parts.ruleset.derived)
    for mode, scan in _scans(parts):
        if not subset.covers(mode):
            continue
        for (family, stream), memory in sorted(scan.memories.items()):
            rows = parts.members.rows(family)
            for quantity, kept in memory.kept.items():
                if quantity in parts.derive.unremembered:
                    continue
                there = np.flatnonzero(kept.ts_ms > NEVER_MS)
                there = there[subset.has(rows[there])]
                saved.append(
                    _SavedMemory(
                        mode,
                        FAMILIES[family],
                        stream,
                        name_of[quantity],
                        _save(rows[there]),
                        _save(kept.value[there]),
                        _save(kept.ts_ms[there]),
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
    kept.judged[rank] = UNASKED


def _unpack_silence(parts: Parts, saved: _Saved, rows: _Rows) -> None:
    silence = parts.silence
    if silence.rules:
        device = rows.new(_load(saved.heard_device))
        there = np.flatnonzero(device >= 0)
        silence.heard_ms[device[there]] = _load(saved.heard_ms)[there]
    variants = zip(saved.rules, _variants(parts, saved), strict=True)
    known_as = {_name(old): (old, numbers) for old, numbers in variants}
    told = [(*known_as[name], column) for name, column in saved.told.items()]
    for old, number, column in ((o, n, c) for o, numbers, c in told for n in numbers):
        if number not in silence.rules:
            continue
        device = rows.new(_load(column))
        device = device[device >= 0]
        family = parts.members.family_of(number)
        device = device[parts.directory.family[device] == family]
        rank = parts.members.rank[device]
        if parts.ruleset.rules[number].card.hash != old.hash:
            # What an older text passed over in silence may be worth an alert by the new one.
            rank = rank[parts.members.slots(Episode.LIVE, number)[rank] >= 0]
        silence.told[number][rank] = True
    silence.grow()


def _scans(parts: Parts) -> tuple[tuple[str, Scan], ...]:
    return ("instant", parts.instant), ("timed", parts.timed)


def _save_all(
    kept: Mapping[str, Mapping[str, NDArray[Any]]],
) -> dict[str, dict[str, _SavedColumn]]:
    return {
        key: {name: _save(column) for name, column in sorted(columns.items())}
        for key, columns in sorted(kept.items())
    }


def _load_all(columns: dict[str, _SavedColumn]) -> dict[str, NDArray[Any]]:
    return {name: _load(column) for name, column in columns.items()}
