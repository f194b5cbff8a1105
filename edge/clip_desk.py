"""Where clips are asked for: answers `gw/v1/{gateway}/ask` from the folder of clips.

A connection of its own, so that a clip never stands in the way of readings. The broker's access
list says who may ask (the server alone); nothing is sent that wasn't asked for.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from typing import Any

import msgspec

from contracts import topics
from contracts.clips import PART_BYTES, ClipAsk, ClipPart, KeptClip, encode
from edge.clip_folder import ClipFolder
from edge.clock import Clock
from edge.connection import client_for
from edge.settings import BrokerSettings

LISTED = 500
"""Clips that a list holds at most, the newest."""

log = logging.getLogger("gridwarden.edge.clips")
_asks = msgspec.json.Decoder(ClipAsk)


class ClipDesk:
    """`start` and `stop`; paho's thread does the rest, and connects again by itself."""

    def __init__(
        self, folder: ClipFolder, gateway: str, settings: BrokerSettings, port: int, clock: Clock
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._gateway = gateway
        self._settings = settings
        self._port = port
        self._client = self._built()
        self.counts: Counter[str] = Counter()

    def _built(self) -> Any:
        client = client_for(self._settings, f"{self._gateway}-clips", reconnects=True)
        client.reconnect_delay_set(1, 60)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        return client

    def start(self) -> None:
        self._client.connect_async(
            self._settings.host, self._port, keepalive=self._settings.keepalive_s
        )
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Any, _data: Any, _flags: Any, code: Any, _properties: Any
    ) -> None:
        if code.is_failure:
            log.warning("clips not reachable gateway=%s why=%s", self._gateway, code)
            return
        client.subscribe(topics.ask(self._gateway), qos=1)

    def _on_message(self, client: Any, _data: Any, message: Any) -> None:
        try:
            ask = _asks.decode(message.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.counts["not_understood"] += 1
            log.warning("clip not asked for gateway=%s why=%r", self._gateway, str(error)[:200])
            return
        try:
            answer = self._listed(ask) if ask.kind == "list" else self._clip(ask)
        except OSError as error:
            log.error("clip can't be read gateway=%s why=%r", self._gateway, str(error))
            answer = [encode(ClipPart(ask=ask.ask, why=f"can't be read: {error.strerror}"))]
        self.counts[ask.kind] += 1
        log.info("clip asked for kind=%s camera=%s at_ms=%d", ask.kind, ask.camera, ask.at_ms)
        for payload in answer:
            client.publish(topics.clip(self._gateway), payload, qos=1)

    def _listed(self, ask: ClipAsk) -> list[bytes]:
        kept = self._folder.kept(ask.camera)[-LISTED:]
        return [encode(ClipPart(ask=ask.ask), msgspec.json.encode(kept))]

    def _nearest(self, ask: ClipAsk) -> KeptClip | None:
        """A clip bears the time of this gateway's clock. Where that is wrong the alert bears a
        mended one; what the clock is off by now it was off by then, or it was right."""
        ahead_ms = self._clock.wall_ms() - ask.now_ms if ask.now_ms else 0
        found = self._folder.nearest(ask.camera, ask.at_ms + ahead_ms)
        return found or self._folder.nearest(ask.camera, ask.at_ms)

    def _clip(self, ask: ClipAsk) -> list[bytes]:
        clip = self._nearest(ask)
        if clip is None:
            return [encode(ClipPart(ask=ask.ask, camera=ask.camera, why="no clip of that moment"))]
        data = self._folder.file(clip).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        parts = max(1, -(-len(data) // PART_BYTES))
        return [
            encode(
                ClipPart(
                    ask=ask.ask,
                    part=n,
                    parts=parts,
                    camera=clip.camera,
                    start_ms=clip.start_ms,
                    end_ms=clip.end_ms,
                    size=len(data),
                    sha256=digest,
                ),
                data[n * PART_BYTES : (n + 1) * PART_BYTES],
            )
            for n in range(parts)
        ]
