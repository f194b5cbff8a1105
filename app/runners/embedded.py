"""The whole pipeline in one process: broker child, ingest, engine, dispatch, page and API.

Two threads carry it: one accepts (broker -> log -> acknowledgement), one decides (log -> engine
-> stores). Around them run the subscriber's socket, deliveries, the telemetry writer, retention
and the web server. A thread that fails ends the process: systemd starts it again, and it reads
on from its last snapshot.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from app import broker as brokers
from app.contents import Contents
from app.logs import logger
from app.metrics import Metrics
from app.runners import health, install
from app.runners.acceptance import Acceptance, Inlet, Timing
from app.runners.deliveries import filters, start_dispatcher, webhooks
from app.runners.detectors import open_detection
from app.runners.execution import Execution, Outlets
from app.runners.housekeeping import Housekeeping
from app.runners.recovery import recover
from app.runners.rehearsal import Rehearsal, RehearsedInlet
from app.runners.reload import Reload
from app.runners.rules_state import Refusal
from app.runners.threads import Failure, spawn
from app.runners.web import Web
from app.settings import Settings, SettingsError
from app.telemetry import open_telemetry
from contracts.log import LogRecord
from dispatch.api import create_api
from dispatch.deliver.live import Broadcaster
from dispatch.deliver.mqtt import BrokerAddress as AlertBroker
from dispatch.dispatcher import Pulse
from dispatch.keys import KeyRing, console_file, key_file, page_url
from dispatch.store import Store
from ingest import layout
from ingest.acceptor import Acceptor
from ingest.ledger_store import LedgerStore
from ingest.log import SqliteLog
from ingest.message import Message
from ingest.quarantine import Quarantine
from ingest.subscriber import BrokerAddress, Subscriber

QUEUE_GROUPS = 64
"""Groups between the accepting and the deciding thread; full, acceptance waits."""

PAGE_DIR = Path(__file__).parents[1] / "console"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Server:
    """Start it, wait for `failure.stopping`, stop it. What it opened is closed in reverse."""

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        *,
        simulated: bool = False,
        rehearse_from_ms: int | None = None,
    ) -> None:
        """`say` gets a line of progress for a person at each step of the start.

        simulated: nothing here is real; health and page say so. rehearse_from_ms: the server's
        time is that of a recording which begins no earlier than this.
        """
        self._rehearsal = None if rehearse_from_ms is None else Rehearsal(rehearse_from_ms)
        self._clock = now_ms if self._rehearsal is None else self._rehearsal.clock
        simulated = simulated or self._rehearsal is not None
        self.settings, self._say, self._simulated = settings, say, simulated
        self.failure = Failure()
        self.metrics = Metrics()
        self._log = logger("app")
        self._stack = ExitStack()
        self._accepting: threading.Thread | None = None
        self._deciding: threading.Thread | None = None
        self._accepted_all = threading.Event()
        self._detecting: threading.Thread | None = None
        self._decided_all = threading.Event()
        self._live = Broadcaster()
        self.reload_asked = threading.Event()

    def start(self) -> None:
        """Raises the typed errors of what it starts; the verb turns them into one line."""
        try:
            self.web = Web(self.settings.http.host, self.settings.http.port)
            self._stack.callback(self.web.stop)
            self._open_stores()
            self._start_broker()
            self._prepare_engine()
            self._start_dispatch()
            self._start_loops()
        except BaseException:
            self._stack.close()
            raise

    @property
    def page_url(self) -> str:
        """The address of the live page, with the local key behind "#"."""
        return page_url(self.web.url, self._console_key)

    @property
    def console_key_file(self) -> Path:
        return console_file(self.settings.data)

    def _open_stores(self) -> None:
        settings, data, keep = self.settings, self.settings.data, self._stack.callback
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log = SqliteLog(
            layout.log_folder(data), segment_bytes=settings.retention.segment_bytes
        )
        keep(self.log.close)
        if self._rehearsal is not None:
            self._rehearsal.reach(self.log.last_accepted_ms)
        ledger_store = LedgerStore(layout.ledger_file(data))
        keep(ledger_store.close)
        self.quarantine = Quarantine(
            layout.quarantine_file(data), max_rows=settings.retention.quarantine_rows
        )
        keep(self.quarantine.close)
        self.store = Store(data / "dispatch.db")
        keep(self.store.close)
        # Before anything is recorded: an event is owed to those who were receivers by then.
        self._hooks = webhooks(settings)
        self.store.set_receivers(filters(settings, self._hooks))
        self.acceptor = Acceptor(
            self.log,
            ledger_store.load(self.log),
            self.quarantine,
            clock=self._clock,
            ledger_store=ledger_store,
        )
        keep(lambda: self.acceptor.checkpoint(self._clock()))

    def _start_broker(self) -> None:
        mqtt = self.settings.mqtt
        host, port = mqtt.host, mqtt.port
        self.broker: brokers.Broker | None = None
        if mqtt.broker != "external":
            self.broker = brokers.start(mqtt.broker, port, self.settings.data / "broker")
            self._stack.callback(self.broker.stop)
            host, port = self.broker.host, self.broker.port
            self._say(f"broker {self.broker.kind} on {host}:{port}")
        password = "" if mqtt.password_file is None else _password(mqtt.password_file)
        self._address: dict[str, Any] = {
            "host": host,
            "port": port,
            "username": mqtt.username,
            "password": password,
            "tls": mqtt.tls,
            "ca_file": str(mqtt.ca_file or ""),
        }

    @property
    def mqtt_port(self) -> int:
        return int(self._address["port"])

    def _prepare_engine(self) -> None:
        settings, keep = self.settings, self._stack.callback
        contents = Contents(self.log)
        findings = install.install(self.acceptor, self.log, contents, settings, self._clock())
        if findings:
            self._log.warning("registry", findings=len(findings), first=str(findings[0]))
            more = f"{len(findings)} findings, the first: {findings[0]}"
            self._say(f"registry: {more} (see `gridwarden registry check`)")
        self.detection = open_detection(settings, self._log)
        install.install_models(self.acceptor, self.log, self.detection.models, self._clock())
        engine = recover(self.log, contents, install.admission_settings(settings.engine))
        self.reload = self._make_reload(contents)
        self.telemetry = open_telemetry(
            settings.telemetry,
            layout.telemetry_folder(settings.data),
            clock=self._clock,
            letters=self.quarantine.put,
        )
        if self.telemetry is not None:
            keep(self.telemetry.close)
        self.housekeeping = Housekeeping(
            settings.data,
            settings.retention,
            log=self.log,
            telemetry=self.telemetry,
            quarantine=self.quarantine,
            acceptor=self.acceptor,
            clock=self._clock,
            logger=self._log,
        )
        self._restore_detectors(engine.position)
        self.execution = Execution(
            engine,
            self.log,
            Outlets(self.store, self.quarantine, self.telemetry, self.reload.tell, self.detection),
            clock=now_ms,
            snapshot_every_ms=settings.engine.snapshot_every_s * 1000,
            metrics=self.metrics,
            logger=self._log,
            on_full=self.housekeeping.make_room,
            ended=self.failure.stopping.is_set,
        )
        # Before the first event is recorded: a disk that was full at the end is full now.
        self.housekeeping.make_room()
        done = self.execution.catch_up(_progress(self._say))
        self.detection.catch_up(self._append_early)
        if done:
            self._say(f"read on {done} records of the log")
        coming = engine.coming
        self.reload.begin(
            engine.content.get("rules", ""),
            None if coming is None else (coming.content, coming.activate_ms),
        )
        self.execution.snapshot()
        rules, devices = len(engine.ruleset.ids), len(engine.registry.devices)
        self._say(f"{rules} rules, {devices} devices, log at {engine.position}")

    def _restore_detectors(self, position: int) -> None:
        snapshot = self.log.load_snapshot() if position else None
        if snapshot is not None:
            self.detection.restore(snapshot.chunks)

    def _append_early(self, packs: list[Message]) -> None:
        """At the start nobody accepts yet: scores go into the log and to the engine at once."""
        records = self.acceptor.accept(packs, inner=True).records
        if records:
            self.execution.step(records)

    def _make_reload(self, contents: Contents) -> Reload:
        after_ms = self.settings.engine.activate_after_ms

        def tell(refusal: Refusal | None) -> None:
            self._live.rules_refused(None if refusal is None else refusal.findings[0])

        return Reload(
            install.rules_folder(self.settings),
            self.settings.data,
            contents,
            append=lambda name, content: self.acceptance.change_rules(name, content, after_ms),
            clock=self._clock,
            metrics=self.metrics,
            logger=self._log,
            every_s=self.settings.engine.reload_s,
            asked=self.reload_asked,
            alarm=tell,
        )

    def _start_dispatch(self) -> None:
        settings, keep = self.settings, self._stack.callback
        live = self._live
        keep(live.close)
        self.store.subscribe(live.publish)
        self.dispatcher = start_dispatcher(
            settings,
            self.store,
            self._hooks,
            AlertBroker(**self._address),
            pulse=self._pulse,
            alarm=self._delivery_alarm(live),
            metrics=self.metrics,
        )
        keep(self.dispatcher.stop)
        keys = KeyRing(key_file(settings.data))
        self._console_key = keys.console_key(self.console_key_file)
        api = create_api(
            self.store,
            self._submit,
            live,
            self.health,
            self._exposition,
            keys,
            PAGE_DIR,
            enable=self.dispatcher.enable,
            rules=self._rules_document,
        )
        self.web.serve(api)
        self._say(f"page and API on {self.web.url}")

    def _start_loops(self) -> None:
        settings = self.settings
        self.subscriber = Subscriber(BrokerAddress(**self._address))
        records: queue.Queue[list[LogRecord]] = queue.Queue(QUEUE_GROUPS)
        inlet: Inlet = self.subscriber
        if self._rehearsal is not None:
            inlet = RehearsedInlet(self._rehearsal, inlet, self._is_settled)
        self.acceptance = Acceptance(
            inlet,
            self.acceptor,
            records,
            timing=Timing(settings.engine.commit_ms, settings.engine.mark_ms),
            clock=self._clock,
            engine_due_ms=self.execution.due_after,
            on_full=self.housekeeping.make_room,
            metrics=self.metrics,
            log=self._log,
            ended=self.failure.stopping.is_set,
        )
        self.subscriber.start()
        stopping = self.failure.stopping
        self._deciding = spawn(
            "deciding",
            lambda: self.execution.run(records, self._accepted_all.is_set),
            self.failure,
            self._log,
        )
        self.detection.begin()
        self._detecting = spawn(
            "detecting",
            lambda: self.detection.run(self.acceptance.append_scores, self._decided_all.is_set),
            self.failure,
            self._log,
        )
        self._accepting = spawn(
            "accepting",
            lambda: self.acceptance.run(stopping.is_set),
            self.failure,
            self._log,
        )
        spawn("housekeeping", lambda: self.housekeeping.run(stopping), self.failure, self._log)
        spawn("rules", lambda: self.reload.run(stopping), self.failure, self._log)
        spawn("watching", self._watch, self.failure, self._log)

    def _watch(self) -> None:
        """What ends without being asked takes the process down: what starts it starts all."""
        said: str | None = None
        while not self.failure.stopping.wait(0.5):
            said = self._tell_of_broker(said)
            if self.broker is not None and not self.broker.alive():
                self.failure.report(f"the broker ended (status {self.broker.process.returncode})")
            for name, part in (
                ("subscriber", self.subscriber),
                ("dispatcher", self.dispatcher),
                ("web server", self.web),
                ("telemetry", self.telemetry),
            ):
                if part is not None and not part.alive:
                    self.failure.report(f"the {name}'s thread ended")

    def _tell_of_broker(self, said: str | None) -> str | None:
        """A line when the connection comes or goes, or fails for another reason than was said;
        gives what is said by now, None = it is there."""
        connected = self.subscriber.connected
        why = None if connected else self.subscriber.last_error
        if why != said:
            tell = self._log.info if connected else self._log.error
            tell("broker connected" if connected else "no connection to the broker", why=why or "")
        return why

    def stop(self) -> None:
        """Finish what was taken, save a snapshot, close everything. Safe after a failure."""
        self.failure.stopping.set()
        if self._accepting is not None:
            self._accepting.join()
        self.subscriber.stop()
        self._accepted_all.set()
        if self._deciding is not None:
            self._deciding.join()
        if not self.failure.what:
            self.execution.snapshot()
        self._decided_all.set()
        if self._detecting is not None:
            self._detecting.join()
        self._stack.close()

    def _is_settled(self) -> bool:
        """Whether all of the log is decided, and nothing more will come of it."""
        last = self.log.last_position
        done = self.execution.handed == last and self.detection.is_idle
        return done and self.log.last_position == last

    # What others ask

    def _submit(self, command: Any) -> None:
        self.acceptance.submit(command)

    def _stepped_ms(self) -> int:
        """In recorded time nothing is to be done where nothing comes."""
        waits = self._rehearsal is not None and self._is_settled()
        return now_ms() if waits else self.execution.stepped_ms

    def _pulse(self) -> Pulse:
        return Pulse(self.execution.position, self._lag_ms())

    def _lag_ms(self) -> int:
        """How far deciding is behind accepting: with nothing to decide, marks keep it small."""
        return max(0, self.log.last_accepted_ms - self.execution.heard_ms)

    def health(self) -> dict[str, Any]:
        telemetry = self.telemetry
        found = health.judge(
            health.Vitals(
                now_ms=now_ms(),
                stepped_ms=self._stepped_ms(),
                lag_ms=self._lag_ms(),
                position=self.execution.position,
                log_position=self.log.last_position,
                broker_connected=self.subscriber.connected,
                broker_error=self.subscriber.last_error,
                disk_full=self.acceptance.disk_full,
                sparing=self.acceptor.sparing,
                dispatch=self.dispatcher.health(),
                telemetry=None if telemetry is None else msgspec.to_builtins(telemetry.state()),
                quarantine=msgspec.to_builtins(self.quarantine.state()),
                storage=self.housekeeping.state(),
                detectors=dict(self.detection.failed),
            )
        )
        refused = self.reload.state.refused
        rules = {
            "in_force": self.reload.state.in_force,
            "refused": None if refused is None else msgspec.to_builtins(refused),
        }
        return found | {"simulated": self._simulated, "rules": rules}

    def _rules_document(self) -> dict[str, Any]:
        """Which rules are in force, which are coming, what was refused, and who is waited for."""
        coming = self.execution.engine.coming
        found: dict[str, Any] = msgspec.to_builtins(self.reload.state)
        return found | {"waiting": [] if coming is None else list(coming.switch.waiting())}

    def _exposition(self) -> bytes:
        self.metrics.watermark_lag.set(self.execution.watermark_lag_s())
        if self.telemetry is not None:
            self.metrics.store.show(self.telemetry.state())
        self.metrics.show_judged(self.store.queries.judged())
        for part, counts in self._inner_counts().items():
            self.metrics.show(part, counts)
        return self.metrics.exposition()

    def _inner_counts(self) -> dict[str, Mapping[str, float]]:
        accept = self.acceptor.counts
        return {
            "alerts": self.execution.engine.lifecycle.counts,
            "rules": self.execution.engine.rules.counts(),
            "ledger": asdict(self.acceptor.ledger.counts),
            "acceptance": {
                "unclaimed": accept.unclaimed,
                "turned_back": accept.turned_back,
                "failed_checkpoints": accept.failed_checkpoints,
            },
            "subscriber": asdict(self.subscriber.counts),
            "dispatch": self.dispatcher.counts,
            "dispatch_store": self.store.queries.counters(),
            "letters_lost": self.quarantine.lost,
        }

    def _delivery_alarm(self, live: Broadcaster) -> Callable[[str, int | None], None]:
        def alarm(receiver: str, since_ms: int | None) -> None:
            failing = since_ms is not None
            log = self._log.error if failing else self._log.info
            log("urgent delivery failing" if failing else "urgent delivery works", to=receiver)
            live.delivery_failing(receiver, since_ms)

        return alarm


def _password(path: Path) -> str:
    """Raises `SettingsError`, without a word of the content."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = "no text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise SettingsError(
            f"mqtt.password_file: {path}: can't be read ({why}); name a file with the password"
        ) from None


def _progress(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """A line at most every second: a long recovery shows that it moves."""
    last = [time.monotonic()]

    def progress(done: int, of: int) -> None:
        if time.monotonic() - last[0] >= 1:
            last[0] = time.monotonic()
            say(f"reading on: {done} of {of} records")

    return progress
