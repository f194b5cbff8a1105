"""What is known of the packs of one gateway, as a document: for `gridwarden gaps` and `/gaps`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from contracts.alerts import timestamp
from contracts.pack import boot_text
from ingest.completeness import HOUR_MS, Hour
from ingest.ledger import Ledger, Loss
from ingest.partition import PartitionLog

MOST = 1_000


def gateway_document(
    ledger: Ledger, gateway: str, hours: Iterable[Hour], losses: Iterable[Loss]
) -> dict[str, Any]:
    """hours: judged ones. losses: of this gateway."""
    return {
        "gateway": gateway,
        "hours": [_hour(hour) for hour in hours],
        "open": [
            {
                "boot": boot_text(boot),
                "first": gap.first,
                "last": gap.last,
                "from": _time(gap.from_ms),
                "to": _time(gap.to_ms),
            }
            for boot, gap in ledger.gaps(gateway)
        ],
        "lost": [_loss(loss) for loss in losses],
    }


def gaps_of(logs: Mapping[int, PartitionLog], gateway: str | None) -> dict[str, Any] | None:
    """Of partitions: a gateway as each has it that knows it (after a move several do), None where
    none does; without a name, who misses packs, `MOST` names of them."""
    if gateway is None:
        missing = {name for log in logs.values() for name in log.ledger.incomplete()}
        missing |= {loss.gateway for log in logs.values() for loss in log.losses}
        names = sorted(missing)
        return {"partitions": sorted(logs), "missing": len(names), "gateways": names[:MOST]}
    found = [
        {"partition": number}
        | gateway_document(log.ledger, gateway, log.judged_hours(gateway), log.losses_of(gateway))
        for number, log in sorted(logs.items())
        if log.ledger.knows(gateway)
    ]
    return {"partitions": sorted(logs), "gateways": found} if found else None


def _hour(hour: Hour) -> dict[str, Any]:
    return {
        "from": timestamp(hour.from_ms),
        "to": timestamp(hour.from_ms + HOUR_MS),
        "state": hour.state,
        "packs": hour.packs,
        "readings": hour.readings,
    }


def _loss(loss: Loss) -> dict[str, Any]:
    return {
        "boot": boot_text(loss.boot),
        "first": loss.first,
        "last": loss.last,
        "from": _time(loss.from_ms),
        "to": _time(loss.to_ms),
        "readings": loss.readings if loss.readings >= 0 else None,
        "reason": loss.reason,
    }


def _time(ms: int) -> str | int:
    """A tombstone may claim times that have no date; those are shown as they came."""
    try:
        return timestamp(ms)
    except (ValueError, OverflowError, OSError):
        return ms
