"""A steady load for `bench kafka`, a process: CONFIG REGISTRY READINGS_PER_S SECONDS SEED."""

from __future__ import annotations

import sys
from pathlib import Path

from app.bench.kafka_site import Gateways, Site, fill


def main(config: str, registry: str, per_s: float, seconds: float, seed: int) -> None:
    gateways = Gateways(Path(registry), seed)
    fill(Site(Path(config)), gateways.live(per_s, seconds), per_s)


if __name__ == "__main__":
    config, registry, per_s, seconds, seed = sys.argv[1:]
    main(config, registry, float(per_s), float(seconds), int(seed))
