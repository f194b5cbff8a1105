"""Secrets and broker of the compose file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.parts import ComposeBroker, add_user, make_secrets

GATEWAY = "gw-1"
GATEWAY_WORD = "right-for-gw-8P"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    return make_secrets(tmp_path / "compose")


@pytest.fixture
def broker(
    tmp_path: Path, secrets: Path, require_tool: Callable[[str], str]
) -> Iterator[ComposeBroker]:
    """It knows the gateway `GATEWAY`."""
    require_tool("mosquitto")
    add_user(secrets, GATEWAY, GATEWAY_WORD)
    running = ComposeBroker(tmp_path / "mosquitto", secrets)
    with running:
        yield running
