"""`NAME.test.yml` to cases, every fault a finding with line, path and mend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from contracts.groups import KINDS, PREFIX
from contracts.quantities import FAMILIES, QUANTITIES, QUANTITY_INDEX
from contracts.topics import ID
from rules.document import Reader
from rules.finding import Finding, suggest
from rules.testing.case import Case, Command, Device, Expectation, Series
from rules.testing.faults import Fault
from rules.testing.fields import Draft, Found
from rules.testing.happenings import Happenings
from rules.testing.notation import NotationError, Sample, parse_series
from rules.testing.times import parse_start

SUFFIXES = (".test.yml", ".test.yaml")
TOP = ("tests", "devices", "start", "interval")
KEYS = (
    "name",
    "start",
    "interval",
    "until",
    "seed",
    "rule",
    "device",
    "devices",
    "series",
    "faults",
    "commands",
    "expect",
)

DEFAULT_START = "2026-03-01T08:00:00+08:00"
DEFAULT_INTERVAL_MS = 10_000
DEFAULT_GATEWAY = "gw1"
DEFAULT_GRID = "340199001001001"
LONGEST_MS = 400 * 86_400_000
_GRID = re.compile(r"[0-9]{15}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Defaults:
    start_ms: int
    interval_ms: int
    devices: Mapping[str, Device]


def is_test(name: str) -> bool:
    """Whether a file of a rule folder holds tests."""
    return name.lower().endswith(SUFFIXES)


def read_tests(file: str, text: str) -> tuple[list[Case], list[Finding]]:
    """The tests of one file; with findings, some may be missing or wrong."""
    reader = _Cases(Reader(file))
    return reader.cases(text), reader.reader.findings


def _is_group(name: str) -> bool:
    """Whether it names a group, as `building 3`, and not a device."""
    return name.split(" ")[0].removeprefix(PREFIX).split(":")[0] in KINDS and not ID.fullmatch(name)


class _Cases(Happenings):
    """Walks one file."""

    def cases(self, text: str) -> list[Case]:
        reader = self.reader
        root = reader.compose(text, "write tests: [...]")
        if root is None:
            return []
        top = reader.mapping(root, "")
        reader.known(top, "", TOP)
        start_ms = parse_start(DEFAULT_START) or 0
        draft = Draft("", {}, start_ms, DEFAULT_INTERVAL_MS)
        self._clock(top, draft)
        if "devices" in top:
            self._devices(top["devices"][1], draft, "devices")
        if "tests" not in top:
            if top:
                reader.fault(root, "", "no tests", "write tests: [...]")
            return []
        defaults = _Defaults(draft.start_ms, draft.interval_ms, draft.devices)
        listed = reader.items(top["tests"][1], "tests")
        return self._named([self._case(node, path, defaults) for path, node in listed])

    def _named(self, cases: list[Case]) -> list[Case]:
        lines: dict[str, int] = {}
        for i, case in enumerate(cases):
            first = lines.setdefault(case.name, case.line)
            if case.name and first != case.line:
                problem = f"line {first} has a test of the same name"
                self.reader.fault(case.line, f"tests[{i}].name", problem, "rename one")
        return cases

    def _case(self, node: yaml.Node, path: str, defaults: _Defaults) -> Case:
        reader = self.reader
        found = reader.mapping(node, path)
        reader.known(found, path, KEYS)
        for word in ("name", "series", "expect"):
            if found and word not in found:
                mend = "write expect: [] when nothing may ring" if word == "expect" else ""
                reader.fault(node, f"{path}.{word}", f"{word} is missing", mend or f"add {word}:")
        draft = Draft(path, dict(defaults.devices), defaults.start_ms, defaults.interval_ms)
        self._clock(found, draft)
        if "devices" in found:
            self._devices(found["devices"][1], draft, f"{path}.devices")
        draft.gateways = {device.gateway for device in draft.devices.values()}
        draft.rule = self.word(found, "rule", path)
        draft.device = self.word(found, "device", path)
        if draft.device and not _is_group(draft.device):
            self.known_device(found["device"][1], draft, f"{path}.device", draft.device)
        elif len(draft.devices) == 1:
            draft.device = next(iter(draft.devices))
        series = tuple(self._all_series(found, draft))
        faults = tuple(self.faults(found, draft))
        commands = tuple(self.commands(found, draft))
        expect = tuple(self.expectations(found, draft))
        until_ms = self._until(found, draft, series, faults, commands, expect)
        return Case(
            file=reader.file,
            line=node.start_mark.line + 1,
            name=self.word(found, "name", path),
            start_ms=draft.start_ms,
            interval_ms=draft.interval_ms,
            seed=self._seed(found, path),
            until_ms=until_ms,
            devices=draft.devices,
            series=series,
            faults=faults,
            commands=commands,
            expect=expect,
        )

    def _clock(self, found: Found, draft: Draft) -> None:
        at = f"{draft.path}." if draft.path else ""
        if "start" in found:
            node = found["start"][1]
            text = self.reader.text(node, f"{at}start")
            start_ms = parse_start(text)
            if start_ms is not None:
                draft.start_ms = start_ms
            elif text:
                mend = f"write {DEFAULT_START}, with the offset from UTC"
                self.reader.fault(node, f"{at}start", f"{text!r} is no time", mend)
        if "interval" in found:
            draft.interval_ms = self.duration(found, "interval", draft.path) or draft.interval_ms

    def _seed(self, found: Found, path: str) -> int:
        text = self.word(found, "seed", path) or "1"
        if not re.fullmatch("[0-9]{1,9}", text):
            self.reader.fault(found["seed"][1], f"{path}.seed", f"{text!r} is no seed", "write 1")
            return 1
        return int(text)

    def _devices(self, node: yaml.Node, draft: Draft, path: str) -> None:
        for name, (key, value) in self.reader.mapping(node, path).items():
            at = f"{path}.{name}"
            if not ID.fullmatch(name):
                mend = "write letters, digits, _ and -, at most 64"
                self.reader.fault(key, at, f"{name!r} is no id", mend)
                continue
            device = self._device(name, value, at)
            if device is not None:
                draft.devices[name] = device

    def _device(self, name: str, node: yaml.Node, path: str) -> Device | None:
        found = self.reader.mapping(node, path)
        said = {w: self.reader.text(v, f"{path}.{w}") for w, (_, v) in found.items()}
        if "family" not in found:
            self.reader.fault(node, f"{path}.family", "family is missing", "add family:")
            return None
        if said["family"] not in FAMILIES:
            mend = suggest(said["family"], FAMILIES)
            problem = f"unknown family {said['family']}"
            self.reader.fault(found["family"][1], f"{path}.family", problem, mend)
            return None
        for word in ("device", "lon", "lat"):
            if word in found:
                self.reader.fault(found[word][0], f"{path}.{word}", f"{word} isn't taken here")
        grid = said.get("grid", DEFAULT_GRID)
        if not _GRID.fullmatch(grid):
            mend = f"write 15 digits, as {DEFAULT_GRID}"
            self.reader.fault(found["grid"][1], f"{path}.grid", f"{grid!r} is no grid", mend)
        is_gateway = said["family"] == "gateway"
        gateway = said.get("gateway", name if is_gateway else DEFAULT_GATEWAY)
        if not ID.fullmatch(gateway):
            self.reader.fault(found["gateway"][1], f"{path}.gateway", f"{gateway!r} is no id")
        rest = {w: text for w, text in said.items() if w not in ("family", "gateway")}
        return Device(name, said["family"], gateway, {**rest, "grid": grid})

    def _all_series(self, found: Found, draft: Draft) -> list[Series]:
        series: list[Series] = []
        if "series" not in found:
            return series
        for path, node in self.reader.items(found["series"][1], f"{draft.path}.series"):
            series += self._series(node, path, draft)
        return series

    def _series(self, node: yaml.Node, path: str, draft: Draft) -> list[Series]:
        reader = self.reader
        found = reader.mapping(node, path)
        own = ("device", "from", "interval")
        reader.known(found, path, (*own, *QUANTITY_INDEX))
        names: tuple[str, ...] = (draft.device,) if draft.device in draft.devices else ()
        if "device" in found:
            names = reader.texts(found["device"][1], f"{path}.device")
            for name in names:
                self.known_device(found["device"][1], draft, f"{path}.device", name)
        elif not names:
            reader.fault(node, f"{path}.device", "device is missing", "add device:")
        from_ms = self.offset(found["from"][1], f"{path}.from") if "from" in found else 0
        interval_ms = draft.interval_ms
        if "interval" in found:
            interval_ms = self.duration(found, "interval", path) or interval_ms
        quantities = [word for word in found if word in QUANTITY_INDEX]
        if found and not quantities:
            mend = "write static_pressure: 0.12x5 0.05x10"
            reader.fault(node, path, "names no quantity", mend)
        made = []
        for quantity in quantities:
            samples = self._samples(found[quantity][1], f"{path}.{quantity}", quantity)
            for name in names:
                if name in draft.devices and samples:
                    self._fits(found[quantity][0], f"{path}.{quantity}", quantity, draft, name)
                    made.append(Series(name, quantity, from_ms, interval_ms, samples))
        return made

    def _fits(self, node: yaml.Node, path: str, quantity: str, draft: Draft, name: str) -> None:
        families = QUANTITIES[QUANTITY_INDEX[quantity]].families
        family = draft.devices[name].family
        if families and family not in families:
            mend = f"it is known of: {', '.join(families)}"
            self.reader.fault(node, path, f"{family} devices have no {quantity}", mend)

    def _samples(self, node: yaml.Node, path: str, quantity: str) -> tuple[Sample | None, ...]:
        text = self.reader.text(node, path)
        if not text:
            return ()
        try:
            return tuple(parse_series(text, quantity))
        except NotationError as error:
            self.reader.fault(node, path, error.problem, error.mend)
            return ()

    def _until(
        self,
        found: Found,
        draft: Draft,
        series: tuple[Series, ...],
        faults: tuple[Fault, ...],
        commands: tuple[Command, ...],
        expect: tuple[Expectation, ...],
    ) -> int:
        """As long as there are readings, faults, commands or expectations; `until` is longer."""
        ends = [one.end_ms for one in series]
        ends += [fault.at_ms for fault in faults if fault.kind in ("backlog", "reboot")]
        ends += [command.at_ms for command in commands]
        for one in expect:
            ends += [one.at_ms, one.known_at_ms or 0]
        last_ms = max(ends, default=0)
        if "until" in found:
            node, path = found["until"][1], f"{draft.path}.until"
            until_ms = self.offset(node, path)
            if 0 < until_ms < last_ms:
                self.reader.fault(node, path, "the test goes on after it", "make it later")
            last_ms = max(last_ms, until_ms)
        if last_ms > LONGEST_MS:
            self.reader.fault(found["series"][1], draft.path, "lasts more than 400 days")
        return last_ms
