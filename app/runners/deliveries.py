"""Dispatch inside a runner: receivers from the settings, the dispatcher's thread."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec

from app.metrics import Metrics
from app.settings import DispatchSettings, WebhookSettings
from dispatch.deliver.mqtt import BrokerAddress, MqttSender
from dispatch.deliver.sender import Sender
from dispatch.deliver.webhook import WebhookSender
from dispatch.dispatcher import Delivered, Dispatcher, Pulse, Timing
from dispatch.receivers import Filter, Webhook, read_secrets
from dispatch.store import Store

MQTT_RECEIVER = "mqtt"


class Delivering(Protocol):
    """The settings of any runner that delivers."""

    @property
    def dispatch(self) -> DispatchSettings: ...

    @property
    def webhook(self) -> tuple[WebhookSettings, ...]: ...


class _Happened(msgspec.Struct):
    time: datetime


_time = msgspec.json.Decoder(_Happened)


def webhooks(settings: Delivering) -> list[Webhook]:
    """Checked receivers. Raises `ReceiverInvalid`."""
    return [
        Webhook(
            hook.name,
            hook.url,
            read_secrets(hook.secret_file),
            Filter(hook.grid_prefix, hook.min_severity),
            insecure=hook.insecure,
        )
        for hook in settings.webhook
    ]


def filters(settings: Delivering, hooks: list[Webhook]) -> dict[str, Filter]:
    """Receiver name -> what it wants."""
    wanted = {hook.name: hook.filter for hook in hooks}
    if settings.dispatch.mqtt_alerts:
        wanted[MQTT_RECEIVER] = Filter()
    return wanted


def start_dispatcher(
    settings: Delivering,
    store: Store,
    hooks: list[Webhook],
    broker: BrokerAddress,
    *,
    pulse: Callable[[], Pulse],
    alarm: Callable[[str, int | None], None],
    metrics: Metrics,
) -> Dispatcher:
    """Start delivering; the caller stops it."""
    senders: dict[str, Sender] = {hook.name: WebhookSender(hook) for hook in hooks}
    if settings.dispatch.mqtt_alerts:
        senders[MQTT_RECEIVER] = MqttSender(broker)

    def observe(done: Delivered) -> None:
        happened = _time.decode(done.delivery.body).time.timestamp()
        latency_s = max(0.0, done.done_ms / 1000 - happened)
        metrics.delivered.labels(done.delivery.receiver).observe(latency_s)

    dispatcher = Dispatcher(
        store,
        senders,
        pulse=pulse,
        timing=Timing(
            heartbeat_ms=int(settings.dispatch.heartbeat_s * 1000),
            remind_ms=int(settings.dispatch.remind_s * 1000),
        ),
        observe=observe,
        alarm=alarm,
    )
    dispatcher.start()
    return dispatcher
