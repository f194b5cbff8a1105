"""`gridwarden capacity`: from devices and readings a second to partitions, workers and disks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import fail
from app.planning.capacity import GIB, Plan, Wanted, plan
from app.planning.measured import Measured, NotMeasured, measured
from app.planning.picture import picture
from app.planning.simulation import Balance, City, Failure, balance
from app.planning.simulation import fail as let_fail

SHARES = (0.0, 0.05, 0.2)
"""Shares of the workers that fail at once; the first is one worker."""


def command(
    devices: Annotated[int, typer.Option(min=1, help="devices of the city")],
    readings_per_s: Annotated[float, typer.Option(min=0, help="readings a second, the mean")],
    peak: Annotated[float, typer.Option(help="times the mean that must be coped with")] = 2.0,
    busy: Annotated[float, typer.Option(help="share of a core planned at the peak")] = 0.5,
    spare_workers: Annotated[int, typer.Option(help="may be gone at the peak")] = 1,
    log_days: Annotated[float, typer.Option(help="the log is kept")] = 7.0,
    store_days: Annotated[float, typer.Option(help="telemetry is kept")] = 30.0,
    replication: Annotated[int, typer.Option(help="of Kafka")] = 3,
    store_outage_h: Annotated[float, typer.Option(help="hours that the spill holds")] = 4.0,
    results: Annotated[
        Path | None, typer.Option(help="folder of recorded benchmarks; default: those that came")
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="let workers of a simulated city fail")
    ] = False,
    cell_devices: Annotated[int, typer.Option(min=1, help="simulated: devices of a cell")] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="simulated: of the cells")] = 1,
    svg: Annotated[Path | None, typer.Option("--picture", help="simulated: write an SVG")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """How much of everything, by what was measured; with --simulate what failures would do."""
    wanted = Wanted(
        devices, readings_per_s, peak, busy, spare_workers, log_days, store_days, replication,
        store_outage_h,
    )  # fmt: skip
    try:
        costs = measured(_results(results or shipped_results()))
        found = plan(wanted, costs)
    except (NotMeasured, ValueError) as error:
        fail(f"capacity: {error}")
    city = _simulated(wanted, found, costs, cell_devices, seed) if simulate else None
    if svg is not None:
        if city is None:
            fail("--picture: it shows the simulation; add --simulate")
        try:
            svg.write_text(picture(city.city, city.failures), encoding="utf-8")
        except OSError as error:
            fail(f"--picture {svg}: {error.strerror}; name a file that can be written")
    if as_json:
        print(json.dumps(_document(wanted, found, costs, city)))
        return
    for line in _lines(found, costs, city):
        print(line)


def shipped_results() -> Path:
    """The recorded benchmarks that come with gridwarden: inside the wheel or in the checkout."""
    app = Path(__file__).parents[1]
    installed = app / "shipped" / "results"
    return installed if installed.is_dir() else app.parent / "benchmarks" / "results"


def _results(folder: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    try:
        for path in sorted(folder.glob("*.json")):
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))["figures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        fail(f"{path}: no recorded benchmark ({error}); make it with gridwarden bench NAME --out")
    if not found:
        fail(f"{folder}: no recorded benchmarks; name a folder with NAME.json of gridwarden bench")
    return found


@dataclass(frozen=True, slots=True)
class _Simulated:
    city: City
    spread: Balance
    failures: list[Failure]


def _simulated(
    wanted: Wanted, found: Plan, costs: Measured, cell_devices: int, seed: int
) -> _Simulated:
    # At the peak: that is when a failure hurts.
    share = found.worker_busy_share
    city = City(wanted.devices, cell_devices, found.partitions, found.workers, share)
    spread = balance(city, seed)
    recovery_s = costs.recovery_s.value
    counts = sorted({max(1, round(found.workers * part)) for part in SHARES})
    failures = [
        let_fail(city, spread.partition_devices, count, recovery_s=recovery_s)
        for count in counts
        if count < found.workers
    ]
    return _Simulated(city, spread, failures)


def _document(
    wanted: Wanted, found: Plan, costs: Measured, city: _Simulated | None
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "wanted": asdict(wanted),
        "plan": asdict(found),
        "measured": {name: asdict(figure) for name, figure in costs.figures().items()},
    }
    if city is not None:
        document["simulated"] = {
            "cells": city.spread.cells,
            "fullest_partition": round(city.spread.most_partition, 4),
            "fullest_worker": round(city.spread.most_worker, 4),
            "failures": [
                {
                    "failed": one.failed,
                    "moved_partitions": one.moved,
                    "longest_wait_s": round(one.longest_s, 1),
                    "over_s": one.over_s,
                }
                for one in city.failures
            ],
        }
    return document


def _lines(found: Plan, costs: Measured, city: _Simulated | None) -> list[str]:
    p = found
    lines = [
        f"{'partitions':34}{p.partitions:>14,}",
        f"{'workers, a core each':34}{p.workers:>14,}   {p.worker_busy_share:.0%} busy at the peak",
        f"{'bridges':34}{p.bridges:>14,}",
        f"{'memory of a worker':34}{_gib(p.worker_memory_bytes):>14}",
        f"{'into the log, at the peak':34}{p.log_bytes_per_s / 1e6:>11,.1f} MB/s",
        f"{'disks of the brokers, all':34}{_gib(p.brokers_disk_bytes):>14}",
        f"{'into the telemetry store':34}{p.store_rows_per_s:>14,.0f} rows/s,"
        f" {p.store_wire_bytes_per_s / 1e6:,.1f} MB/s packed",
        f"{'disk of the telemetry store':34}{_gib(p.store_disk_bytes):>14}",
        f"{'cores of the telemetry store':34}{p.store_cores:>14,.1f}",
        f"{'spill of a worker':34}{_gib(p.spill_bytes_per_worker):>14}",
        f"{'a worker comes back in':34}{p.recovery_s:>12,.1f} s",
        f"{'a minute of standstill is made up':34}{p.catch_up_s_after_a_minute:>12,.1f} s",
        "",
        "by what was measured (~ = taken for what nobody has measured as such):",
    ]
    for name, figure in costs.figures().items():
        lines.append(
            f"  {name:32}{figure.value:>14.6g} {' ' if figure.direct else '~'} {figure.source}"
        )
    if city is not None:
        spread = city.spread
        lines += [
            "",
            f"SIMULATED: {spread.cells:,} cells; fullest partition {spread.most_partition:.2f}, "
            f"fullest worker {spread.most_worker:.2f} times the mean",
        ]
        for one in city.failures:
            over = "not within half an hour" if one.over_s is None else f"after {one.over_s:.0f} s"
            lines.append(
                f"  {one.failed} of {city.city.workers} workers fail: {one.moved} partitions move, "
                f"longest wait {one.longest_s:.0f} s, over {over}"
            )
    return lines


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB"
