"""SIMULATED: a city of cells on partitions and workers, some of which fail. Pure.

It shows how even the checksum spreads cells, and how long readings wait after failures, at sizes
beyond any machine at hand. Costs of a reading and of a recovery are the measured ones; everything
else is a model: sizes of cells are log-normal, every device sends alike, a worker is one core, a
partition's readings are worked off in order by the one worker that has it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DETECT_S = 30.0
"""After so much silence Kafka gives a worker's partitions to others: `worker.session_s`."""
SIGMA = 0.6
"""Spread of the logarithm of cell sizes: a tenth of the cells has more than twice the middle one
(proposal)."""


@dataclass(frozen=True, slots=True)
class City:
    """cell_devices: mean devices of a cell. busy: share of what all workers can do that comes in,
    while all are there."""

    devices: int
    cell_devices: int
    partitions: int
    workers: int
    busy: float


@dataclass(frozen=True, slots=True)
class Balance:
    """cells. most_*: of the fullest partition or worker, as a multiple of the mean."""

    cells: int
    most_partition: float
    most_worker: float
    partition_devices: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Failure:
    """failed: workers. moved: partitions. wait_s: the longest that a reading waited, by second.
    over_s: until nobody waits longer than a second; None = not within the time looked at."""

    failed: int
    moved: int
    wait_s: NDArray[np.float64]
    over_s: float | None

    @property
    def longest_s(self) -> float:
        return float(self.wait_s.max())


def balance(city: City, seed: int) -> Balance:
    """Cells by the checksum of their least grid code, as `publish registry` assigns them."""
    cells = max(1, city.devices // city.cell_devices)
    random = np.random.default_rng(seed)
    weight = random.lognormal(0.0, SIGMA, cells)
    size = np.maximum(1, np.floor(weight * city.devices / weight.sum())).astype(np.int64)
    partition = np.array(
        [zlib.crc32(b"%015d" % (340_100_000_000_000 + cell)) for cell in range(cells)], np.int64
    )
    devices = np.bincount(
        partition % city.partitions, weights=size, minlength=city.partitions
    ).astype(np.int64)
    load = np.bincount(_owners(city), weights=devices, minlength=city.workers)
    return Balance(cells, _most(devices), _most(load), devices)


def fail(
    city: City,
    partition_devices: NDArray[np.int64],
    failed: int,
    *,
    recovery_s: float,
    horizon_s: int = 1_800,
) -> Failure:
    """Some workers end at once and stay away. Their partitions stand still until it is noticed and
    each has read its state back (recovery_s: per million devices); then the others have them.

    A worker serves its partitions by turns: those that wait longest first.
    """
    if not 0 <= failed < city.workers:
        raise ValueError(f"failed: fewer than the {city.workers} workers")
    share = partition_devices / partition_devices.sum()
    owner = _owners(city)
    gone = owner < failed
    owner = np.where(gone, failed + np.arange(len(owner)) % (city.workers - failed), owner)
    arriving = share * city.busy * city.workers
    """Worker-seconds of work that come in a second."""
    recovering = np.bincount(owner, np.where(gone, partition_devices, 0), city.workers)
    ready = np.where(gone, DETECT_S + recovering[owner] / 1e6 * recovery_s, 0.0)
    backlog = np.zeros(len(owner))
    waits = np.zeros(horizon_s)
    for second in range(horizon_s):
        backlog += arriving
        able = second >= ready
        _serve(backlog, owner, able, city.workers)
        with np.errstate(invalid="ignore", divide="ignore"):
            wait = np.where(arriving > 0, backlog / arriving, 0.0)
        waits[second] = wait.max()
    late = np.flatnonzero(waits > 1.0)
    over = float(late[-1] + 1) if len(late) else 0.0
    return Failure(failed, int(gone.sum()), waits, None if over >= horizon_s else over)


def _serve(
    backlog: NDArray[np.float64],
    owner: NDArray[np.int64],
    able: NDArray[np.bool_],
    workers: int,
) -> None:
    """One second of every worker, shared by its partitions as they have work."""
    waiting = np.where(able, backlog, 0.0)
    asked = np.bincount(owner, waiting, workers)
    share = np.minimum(1.0, 1.0 / np.maximum(asked, 1e-12))
    backlog -= waiting * share[owner]


def _owners(city: City) -> NDArray[np.int64]:
    """Partitions in turn, as many to each worker as can be."""
    return np.arange(city.partitions, dtype=np.int64) % city.workers


def _most(load: NDArray[np.int64] | NDArray[np.float64]) -> float:
    return float(load.max() / load.mean())
