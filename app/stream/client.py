"""How our Kafka clients connect: the same options for aiokafka and for faust's credentials."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError

from app.settings import SettingsError
from app.stream.settings import KafkaSettings, secret


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """None without TLS. Raises `SettingsError`."""
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"kafka: the certificates can't be read ({error}); check ca_file, cert_file, key_file"
        ) from None
    return context


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Arguments that every aiokafka client takes. Raises `SettingsError`.

    They hold the password: never log them.
    """
    plain = "SSL" if settings.tls else "PLAINTEXT"
    options: dict[str, Any] = {
        "bootstrap_servers": settings.servers,
        "security_protocol": f"SASL_{plain}" if settings.sasl else plain,
        "ssl_context": ssl_context(settings),
    }
    if settings.sasl:
        options |= {
            "sasl_mechanism": settings.sasl,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": secret(settings.password_file),
        }
    return options


GOODBYE_S = 5.0


async def goodbye(stopping: Coroutine[Any, Any, None]) -> None:
    """Await a client's `stop`, but not for long: while no broker answers it may wait for ever."""
    with suppress(TimeoutError, KafkaError, OSError):
        await asyncio.wait_for(stopping, GOODBYE_S)


def quiet_clients() -> None:
    """What the clients log of each attempt to connect is told once, by us."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
