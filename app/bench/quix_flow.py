"""The one rule of `bench kafka` in Quix Streams, on the same broker; run as a process of its own.

    python -m app.bench.quix_flow BOOTSTRAP TOPIC GROUP {readings|packs} COUNT

readings: a record is one reading as JSON, keyed by device. packs: a record is a bundle of our
packs, keyed by gateway, decoded in its operator; the states of a gateway's devices lie in one value
of Quix's store, since state is bound to the record's key. Prints what it spent when COUNT records
are through.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

from quixstreams import Application, State

from contracts.log import decode_bundle
from contracts.pack import decode

LIMIT = 70.0
FOR_MS = 60_000
QUANTITY = "cable_temperature"


def hold(state: dict[str, Any], ts_ms: int, value: float) -> int:
    """`value >= LIMIT` for FOR_MS on one device; 1 for every raise and clear."""
    since = state.get("since")
    told = 0
    if since is not None and ts_ms - since >= FOR_MS:
        state["since"], state["firing"] = None, True
        told, since = 1, None
    if value >= LIMIT:
        if not state.get("firing") and since is None:
            state["since"] = ts_ms
    elif state.get("firing"):
        state["firing"] = False
        told += 1
    else:
        state["since"] = None
    return told


def of_reading(row: dict[str, Any], state: State[str, Any]) -> int:
    if row["q"] != QUANTITY:
        return 0
    known = state.get("hold") or {}
    told = hold(known, row["ts"], row["v"])
    state.set("hold", known)
    return told


def of_bundle(value: bytes, state: State[str, Any]) -> int:
    told = 0
    states = state.get("hold") or {}
    for record in decode_bundle(value, 1):
        batch = decode(record.payload).batch
        for device, _, quantity, ts_ms, number, _ in batch.rows():
            if quantity == QUANTITY:
                told += hold(states.setdefault(device, {}), ts_ms, number)
    state.set("hold", states)
    return told


def main(bootstrap: str, topic: str, group: str, kind: str, count: int) -> None:
    logging.disable(logging.WARNING)
    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        auto_create_topics=True,
        state_dir=f"{os.environ.get('TMPDIR', '/tmp')}/quix-{group}",  # noqa: S108
        loglevel=None,
    )
    source = app.topic(topic, value_deserializer="json" if kind == "readings" else "bytes")
    frame = app.dataframe(source)
    frame.apply(of_reading if kind == "readings" else of_bundle, stateful=True)
    began, cpu = time.monotonic(), time.process_time()
    app.run(count=count, timeout=120.0)
    print(
        json.dumps({"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - began}),
        flush=True,
    )


if __name__ == "__main__":
    bootstrap, topic, group, kind, count = sys.argv[1:]
    main(bootstrap, topic, group, kind, int(count))
