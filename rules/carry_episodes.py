"""Snapshots of what stands beside instances: open alerts, raises of flapping devices, counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rules.compared import Known, public_id
from rules.flapping import Raises
from rules.instances import CLEARING, FIRING, State
from rules.parts import Parts
from rules.saved import SavedColumn, load, save
from rules.subset import Subset

Columns = dict[str, SavedColumn]
NewRows = Callable[[NDArray[np.int32]], NDArray[np.int32]]
"""Old directory rows to new ones, -1 = gone or not meant."""

Meets = Callable[[int, int], int]
"""(saved machine row, directory row now) -> the machine row now by which its state goes on, -1."""

_STANDING = {
    "rule": np.int16, "lane": np.uint8, "device": np.int32, "onset": np.int64, "at": np.int64,
}  # fmt: skip
_FLAPS = {
    "rule": np.int16, "lane": np.uint8, "device": np.int32, "flaps": np.bool_, "count": np.uint8,
}  # fmt: skip


def pack_standing(parts: Parts, subset: Subset) -> Columns:
    """Of the alerts of rules with several rows, what their instances don't tell: onset, and when
    the last change was."""
    covered = _covered(parts, subset)
    return _packed(
        _STANDING,
        [
            (standing.row, lane, device, standing.onset_ms, standing.at_ms)
            for (_, lane, device), standing in parts.episodes.saved()
            if any(covered[row] for row in standing.rows) and _has(subset, device)
        ],
    )


def unpack_standing(
    parts: Parts, saved: Columns, known: Sequence[Known], arrived: State, new: NewRows
) -> None:
    """The rows that hold are those of the instances that have arrived."""
    holds = (arrived.phase == FIRING) | (arrived.phase == CLEARING)
    for at in np.flatnonzero(holds & parts.episodes.several[arrived.rule]).tolist():
        parts.episodes.stand(
            int(arrived.rule[at]),
            int(arrived.lane[at]),
            int(arrived.device[at]),
            unknown=bool(arrived.unknown[at]),
            onset_ms=int(arrived.onset[at]),
        )
    if not saved:
        return
    cards = parts.ruleset.cards
    standing_of = {
        (cards[public].id, lane, device): standing
        for (public, lane, device), standing in parts.episodes.saved()
    }
    columns = {name: load(column) for name, column in saved.items()}
    columns["device"] = new(columns["device"])
    for rule, lane, device, onset_ms, at_ms in zip(
        *(columns[name].tolist() for name in _STANDING), strict=True
    ):
        standing = standing_of.get((public_id(known[rule].id), lane, device))
        if standing is not None:
            standing.onset_ms, standing.at_ms = onset_ms, max(standing.at_ms, at_ms)


def pack_flaps(parts: Parts, subset: Subset) -> Columns:
    covered = _covered(parts, subset)
    found = [
        (key, raises)
        for key, raises in parts.flaps.saved()
        if covered[key[0]] and _has(subset, key[2])
    ]
    rows = [(*key, raises.flaps, len(raises.at_ms)) for key, raises in found]
    at_ms = [at for _, raises in found for at in raises.at_ms]
    return _packed(_FLAPS, rows) | {"times": save(np.array(at_ms, np.int64))}


def unpack_flaps(parts: Parts, saved: Columns, meets: Meets, new: NewRows) -> None:
    """What a device did under another variant of the rule counts for the one that it meets now."""
    if not saved:
        return
    columns = {name: load(column) for name, column in saved.items()}
    columns["device"] = new(columns["device"])
    times, end = columns["times"].tolist(), 0
    for rule, lane, device, flaps, count in zip(
        *(columns[name].tolist() for name in _FLAPS), strict=True
    ):
        start, end = end, end + count
        row = meets(rule, device) if device >= 0 else -1
        number = int(parts.parameters.flap_raises[row]) if row >= 0 else 0
        if number:
            parts.flaps.of[row, lane, device] = Raises(times[start:end][-number:], flaps)


def pack_dropped(parts: Parts) -> dict[str, dict[str, int]]:
    scans = {"instant": parts.instant, "timed": parts.timed}
    return {mode: dict(sorted(scan.dropped.items())) for mode, scan in scans.items()}


def unpack_dropped(parts: Parts, saved: Mapping[str, Mapping[str, int]]) -> None:
    for mode, scan in (("instant", parts.instant), ("timed", parts.timed)):
        scan.dropped.update(saved.get(mode, {}))


def _covered(parts: Parts, subset: Subset) -> list[bool]:
    return [subset.covers(rule.mode, rule.id) for rule in parts.ruleset.rules]


def _has(subset: Subset, device: int) -> bool:
    return bool(subset.has(np.array([device], np.int32))[0])


def _packed(dtypes: Mapping[str, type], rows: Sequence[tuple[int, ...]]) -> Columns:
    """Rows of numbers as columns."""
    columns = np.array(rows, np.int64).reshape(-1, len(dtypes)).T
    return {
        name: save(column.astype(dtype))
        for (name, dtype), column in zip(dtypes.items(), columns, strict=True)
    }
