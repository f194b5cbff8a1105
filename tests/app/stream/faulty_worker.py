"""`gridwarden worker` with a fault: its engine fails on packs whose SHA-256 `FAULTY_PACK` names,
and never comes back from those that `HANGING_PACK` names.

Of a fault that we knew of we would have mended the engine; what a worker does about one must
be tested all the same.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence

from app.engine import Engine, Step
from app.main import main
from contracts.log import LogRecord

_step = Engine.step


def step(self: Engine, records: Sequence[LogRecord]) -> Step:
    done = _step(self, records)
    for record in records:
        name = hashlib.sha256(record.payload).hexdigest()
        if name == os.environ.get("FAULTY_PACK"):
            raise ZeroDivisionError("a fault of ours")
        while name == os.environ.get("HANGING_PACK"):
            time.sleep(1.0)
    return done


if __name__ == "__main__":
    Engine.step = step  # type: ignore[method-assign]
    main()
