"""What `train` leaves behind: the model and its manifest, and what they measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from app.cli.outcome import fail


class Trained(Protocol):
    """model: ONNX. manifest: JSON. metrics: by name."""

    @property
    def model(self) -> bytes: ...

    @property
    def manifest(self) -> bytes: ...

    @property
    def metrics(self) -> dict[str, float]: ...


def keep(trained: Trained, out: Path, file: str, *, as_json: bool) -> None:
    """Write both into `out`, the model as `file`, and print the metrics."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / file).write_bytes(trained.model)
        (out / "manifest.json").write_bytes(trained.manifest + b"\n")
    except OSError as error:
        fail(f"--out {out}: {error.strerror}; name a folder that can be written")
    if as_json:
        print(json.dumps({"out": str(out), "metrics": trained.metrics}))
        return
    for name, value in trained.metrics.items():
        print(f"{name:32} {value:12.5g}")
