"""Apache Kafka as child processes on free loopback ports, for benchmarks and tests: one broker, or
a cluster of three.

Every node is broker and controller (KRaft). Kafka doesn't sync each record to the disk: `kill` is
a killed process, whose records the system has, not a power cut.
"""

from __future__ import annotations

import base64
import os
import runpy
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_S = 180.0
STOP_S = 30.0
TRIES = 3
HEAP = "-Xmx512m"
# The short-lived compiler and the serial collector: two brokers fit on two cores.
JAVA = (HEAP, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
LOGGING = ROOT / "deploy" / "kafka-dev" / "log4j2.properties"


def named_bootstrap() -> str:
    """A running Kafka that the environment names, or ""."""
    return os.environ.get("KAFKA_BOOTSTRAP", "")


def java_and_jars() -> tuple[str, Path]:
    """Raises `KafkaMissing` with what to do."""
    try:
        script = _script(ROOT / "deploy" / "setup" / "kafka_jars.py")
    except OSError:
        raise KafkaMissing("no checkout is here; name a running Kafka in KAFKA_BOOTSTRAP") from None
    java, jars = script["java"](), script["jars"]()
    if java is None or jars is None:
        lacking = "Java 17 is missing" if java is None else "the jars of Kafka are missing"
        raise KafkaMissing(
            f"Apache Kafka: {lacking}; get it: {script['INSTRUCTION']}; "
            "or name a running one in KAFKA_BOOTSTRAP"
        )
    return java, jars


def _script(path: Path) -> dict[str, Any]:
    """What a set-up script defines; those are no package. Raises OSError."""
    return runpy.run_path(str(path))


class KafkaMissing(Exception):
    """It isn't installed; the text tells how to get it."""


class KafkaFailed(Exception):
    """It didn't start or didn't stop; the text ends with its log."""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Node:
    """One broker and controller in its own folder. ports: of clients and of the controller."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self.ports = (0, 0)
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise KafkaFailed(f"node {self.number} isn't running")
        return self._child.pid

    @property
    def log(self) -> str:
        path = self.folder / "kafka.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def spawn(self) -> None:
        java, jars = java_and_jars()
        with (self.folder / "kafka.log").open("wb") as log:
            self._child = subprocess.Popen(
                [*_command(java, jars), "kafka.Kafka", str(self.folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def format(self, cluster_id: str, options: Iterable[str] = ()) -> None:
        """Once in the life of the folder."""
        java, jars = java_and_jars()
        done = subprocess.run(
            [
                *_command(java, jars), "kafka.tools.StorageTool", "format", "--ignore-formatted",
                "--cluster-id", cluster_id, "--config", str(self.folder / "server.properties"),
                *options,
            ],
            capture_output=True, text=True, check=False, cwd=self.folder,
        )  # fmt: skip
        if done.returncode:
            raise KafkaFailed(f"kafka's folder wasn't formatted:\n{done.stdout}{done.stderr}")

    def wait(self) -> None:
        """Until it takes connections. Raises `KafkaFailed`."""
        if self._child is None:
            raise KafkaFailed(f"node {self.number} wasn't started")
        deadline = time.monotonic() + START_S
        while not ("Kafka Server started" in self.log and answers(self.ports[0])):
            status = self._child.poll()
            if status is not None or time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                raise KafkaFailed(f"kafka didn't start (status {status}):\n{self.log[-4000:]}")
            time.sleep(0.05)

    def end(self, how: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(how)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise KafkaFailed(f"kafka didn't stop in {STOP_S} s:\n{self.log[-4000:]}") from None


class Kafka:
    """A cluster of `nodes` in one folder: `start`, `stop`, `kill`, `restart`; a context manager.

    Ports are chosen free at the first start and kept over restarts. config: further properties
    of every node. format_options: of the formatter. Topics aren't made by themselves.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 1,
        config: Mapping[str, str] | None = None,
        format_options: Iterable[str] = (),
    ) -> None:
        self.folder = folder
        self.config = dict(config or {})
        self.format_options = tuple(format_options)
        self.nodes = [Node(folder / f"node{n}", n) for n in range(1, nodes + 1)]
        self._formatted = False

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{node.ports[0]}" for node in self.nodes)

    @property
    def running(self) -> bool:
        return all(node.running for node in self.nodes)

    def start(self) -> Kafka:
        """Start what isn't running and wait until it is. Raises `KafkaFailed`, `KafkaMissing`."""
        for last in range(TRIES, 0, -1):
            if not self._formatted:
                self._prepare()
            try:
                self._start_all()
            except KafkaFailed:
                # Somebody took a free port between the look and the start.
                taken = any("Address already in use" in node.log for node in self.nodes)
                self.kill()
                if last == 1 or not taken or self._formatted:
                    raise
            else:
                self._formatted = True
                return self
        raise AssertionError("unreachable")

    def _prepare(self) -> None:
        ports = _free_ports(2 * len(self.nodes))
        for node in self.nodes:
            node.ports = (ports.pop(), ports.pop())
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        if cluster_id.startswith("-"):
            cluster_id = f"A{cluster_id[1:]}"  # Else it reads like an option.
        for node in self.nodes:
            node.folder.mkdir(parents=True, exist_ok=True)
            (node.folder / "server.properties").write_text(self._properties(node))
            meta = node.folder / "data" / "meta.properties"
            meta.unlink(missing_ok=True)
            node.format(cluster_id, self.format_options)

    def _start_all(self) -> None:
        waiting = [node for node in self.nodes if not node.running]
        for node in waiting:
            node.spawn()
        for node in waiting:
            node.wait()

    def stop(self, number: int | None = None) -> None:
        """Ask a node to end, or all."""
        self._end(number, signal.SIGTERM)

    def kill(self, number: int | None = None) -> None:
        """kill -9 of a node, or of all."""
        self._end(number, signal.SIGKILL)

    def restart(self) -> None:
        """Start what is down on the same ports with the same data; without any down, all anew."""
        if self.running:
            self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        for node in self.nodes:
            os.kill(node.pid, signal.SIGSTOP)

    def resume(self) -> None:
        for node in self.nodes:
            os.kill(node.pid, signal.SIGCONT)

    def _end(self, number: int | None, how: signal.Signals) -> None:
        for node in self.nodes:
            if number in (None, node.number):
                node.end(how)

    def _properties(self, node: Node) -> str:
        copies = min(3, len(self.nodes))
        client, controller = (f"127.0.0.1:{port}" for port in node.ports)
        voters = ",".join(f"{one.number}@127.0.0.1:{one.ports[1]}" for one in self.nodes)
        # Kafka's own defaults want three copies and never make its topics on one node.
        insync = 2 if copies == 3 else 1
        known = {
            "process.roles": "broker,controller",
            "node.id": node.number,
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{client}",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": node.folder / "data",
            "default.replication.factor": copies,
            "min.insync.replicas": insync,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": insync,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": insync,
            "group.initial.rebalance.delay.ms": 0,
            # A killed broker may come back only when its old session has ended.
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            "num.network.threads": 2,
            "num.io.threads": 4,
            "num.recovery.threads.per.data.dir": 2,
            "log.cleaner.dedupe.buffer.size": 32 << 20,
            "log.index.size.max.bytes": 1 << 20,
            "auto.create.topics.enable": "false",
            **self.config,
        }
        return "".join(f"{name}={value}\n" for name, value in known.items())

    def __enter__(self) -> Kafka:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def _command(java: str, jars: Path) -> list[str]:
    return [java, *JAVA, f"-Dlog4j2.configurationFile={LOGGING}", "-cp", f"{jars}/*"]


def _free_ports(count: int) -> list[int]:
    """All different: they are held until the last is found."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()
