"""What nobody may miss: the heartbeat that stops, the reminder that goes on, the timer that a
kill interrupts."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from contracts.alerts import timestamp
from dispatch.keys import write_private
from dispatch.receiver import Receiver as Inner
from dispatch.receivers import read_secrets
from tests.torture.account import changes, replayed
from tests.torture.district import FIRE_RULE, FOR_MS, TIMED_RULE, head, pump
from tests.torture.packs import Gateway, fire, now_ms, send
from tests.torture.processes import Receiver, until
from tests.torture.scene import scene

pytestmark = pytest.mark.broker


class Desk(Receiver):
    """The same receiver within this process, so that its heartbeats can be counted live."""

    def start(self) -> None:
        write_private(self.secret, b"whsec_" + base64.b64encode(os.urandom(32)) + b"\n")
        self.inner = Inner(read_secrets(self.secret), self.out, port=self.port)
        self.inner.start()

    def up(self) -> None:
        """It is, from its start."""

    def discard(self) -> None:
        self.inner.close()

    @property
    def beats(self) -> int:
        return self.inner.counts["heartbeats"]


def test_the_heartbeat_stops_with_the_server_and_reminders_with_an_acknowledgement(
    tmp_path: Path,
) -> None:
    timing = "heartbeat_s = 0.5\nremind_s = 1"
    with scene(tmp_path, ("gw-1",), dispatch=timing, desk=Desk) as there:
        receiver, server = there.receiver, there.server
        assert isinstance(receiver, Desk)
        send(there.broker.port, [Gateway("gw-1").pack([fire(head("gw-1", 0), now_ms())])])
        until(lambda: len(reminders(receiver)) >= 2, 30, "reminders of a fire nobody takes")
        (alert,) = {event["data"]["alert"] for event in reminders(receiver)}
        server.ask(f"/api/v1/alerts/{alert}/acknowledge", method="POST", body={})
        until(lambda: taken(receiver), 30, "the acknowledgement is told")
        said, beaten = len(reminders(receiver)), receiver.beats
        # Several times the interval of reminders, told by the heartbeats that go on.
        until(lambda: receiver.beats >= beaten + 8, 30, "heartbeats go on")
        after = reminders(receiver)[said:]
        assert len(after) <= 1, "only one that was on its way may come after it"
        numbers = [event["data"]["reminder"] for event in reminders(receiver)]
        assert numbers == list(range(1, len(numbers) + 1))
        server.kill()
        last = receiver.beats
        began = now_ms()
        until(lambda: now_ms() > began + 2_000, 10, "four intervals without a server")
        assert receiver.beats <= last + 1, "one may have been on its way"
        server.start()
        server.up()
        until(lambda: receiver.beats >= last + 3, 30, "heartbeats are back")
        assert len(receiver.raised(FIRE_RULE)) == 1


def reminders(receiver: Receiver) -> list[dict[str, Any]]:
    return [event for event in receiver.events() if event["data"]["change"] == "reminder"]


def taken(receiver: Receiver) -> bool:
    return any(event["data"]["change"] == "acknowledged" for event in receiver.events())


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGKILL, id="kill"),
        pytest.param(signal.SIGTERM, id="stop", marks=pytest.mark.torture),
    ],
)
def test_a_timer_outlives_the_server(tmp_path: Path, how: signal.Signals) -> None:
    """Ended in the middle of a `for`: the alert comes once, at its own event time."""
    with scene(tmp_path, ("gw-1",), engine="snapshot_every_s = 1") as there:
        receiver, server, gateway = there.receiver, there.server, Gateway("gw-1")

        def low(ts_ms: int) -> tuple[bytes, bytes]:
            row = (pump("gw-1", 0), "firewater", "static_pressure", ts_ms, 0.05, 0)
            return gateway.pack([row])

        onset = now_ms()
        send(there.broker.port, [low(onset)])
        until(lambda: server.metric("gridwarden_readings_total", outcome="accepted"), 20, "heard")
        if how == signal.SIGKILL:
            server.kill()
        else:
            assert server.stop() == 0
        assert not receiver.raised(TIMED_RULE)
        server.start()
        server.up()
        send(there.broker.port, [low(max(now_ms(), onset + FOR_MS + 1))])
        until(lambda: receiver.raised(TIMED_RULE), 30, "the alert")
        until(server.drained, 30, "the server is drained")
        assert server.stop() == 0
        (event,) = receiver.raised(TIMED_RULE)
        assert event["data"]["onset"] == timestamp(onset)
        assert event["time"] == timestamp(onset + FOR_MS)
        again, _ = replayed(server.data, tmp_path)
        assert again == changes(receiver.events())
