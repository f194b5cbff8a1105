"""Who may speak for whom: from the names in a message to rows of the directory.

Equal dictionary bytes from the same gateway mean the same answer for the life of a directory
(a binding, once made, doesn't change), so answers are kept and a pack costs one look-up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag
from contracts.detector import INNER_PREFIX
from contracts.directory import MAX_STRANGERS, DeviceDirectory
from contracts.pack import split_devices, split_quantities
from contracts.quantities import FAMILIES, FAMILY_INDEX, QUANTITY_INDEX
from contracts.rejects import Reason, Refused
from contracts.topics import ID, ForeignTopic, parse_foreign
from ingest.refusal import Problem

CACHE_BYTES = 32 << 20
"""Bound on dictionary bytes whose answers are kept; the least recently used go first."""

CACHE_QUANTITIES = 1024
"""Bound on kept quantity dictionaries; few are in use at a time."""

CACHE_FOREIGNERS = 50_000
"""Bound on foreign devices whose answers are kept; then all are forgotten and judged anew."""


@dataclass(frozen=True, slots=True)
class Speakers:
    """A message's device dictionary, judged; row k of each array is entry k.

    device: int32 row of the directory, -1 when it has none. home: int32 row of the gateway that
    may speak for it. flags: uint16, UNREGISTERED or 0. problem: uint8 `Problem`.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    device: NDArray[np.int32]
    home: NDArray[np.int32]
    flags: NDArray[np.uint16]
    problem: NDArray[np.uint8]
    clean: bool
    listed: bool


class Known(NamedTuple):
    """A foreign device with which nothing is wrong; columns as in `Speakers`."""

    name: str
    family: str
    device: int
    home: int
    flags: int


@dataclass(frozen=True, slots=True)
class Measurands:
    """A message's quantity dictionary: int16 indices into `QUANTITIES`, -1 = unknown name."""

    names: tuple[str, ...]
    index: NDArray[np.int16]
    clean: bool


@lru_cache(maxsize=1024)
def measurands(names: tuple[str, ...]) -> Measurands:
    index = np.array([QUANTITY_INDEX.get(name, -1) for name in names], np.int16)
    return Measurands(names, index, bool((index >= 0).all()))


NO_MEASURANDS = measurands(())


class Binding:
    """The directory, asked with the names of messages.

    on_topic: topic -> the device that speaks for itself there; in_recording: name -> the device.
    Both hold only whom a message has been judged for, and are bounded by `CACHE_FOREIGNERS`.
    """

    def __init__(self, directory: DeviceDirectory) -> None:
        self.directory = directory
        self._speakers: OrderedDict[tuple[int, bool, bytes], Speakers] = OrderedDict()
        self._measurands: dict[bytes, Measurands] = {}
        self._foreigners: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Speakers] = {}
        self.on_topic: dict[str, Known] = {}
        self.in_recording: dict[str, Known] = {}
        self._own: dict[int, int] = {}
        self._kept_bytes = 0
        self._grid_code = [grid.code for grid in directory.registry.grids]
        self._grid = directory.registry.devices.grid
        self.nobody = self._judge((), (), 0, [])

    def gateway(self, gateway: str) -> int:
        """The row of a gateway. Raises `Refused` for a bad id, and for too many strangers."""
        row = self.directory.gateway_row.get(gateway)
        if row is not None:
            return row
        if not ID.fullmatch(gateway):
            raise Refused(Reason.BAD_TOPIC, field="gateway", detail=ascii(gateway)[:80])
        strangers = len(self.directory.gateways) - len(self.directory.registry.devices.gateways)
        if strangers >= MAX_STRANGERS:
            detail = "too many unregistered gateways"
            raise Refused(Reason.UNKNOWN_DEVICE, field="gateway", detail=detail)
        return self.directory.intern_gateway(gateway)

    def of_pack(self, gateway_row: int, raw: bytes, *, honest: bool) -> Speakers:
        """Judge a pack's device dictionary. Raises `Refused` when it can't be read.

        honest: the pack names the gateway on whose topic it came.
        """
        key = (gateway_row, honest, raw)
        known = self._speakers.get(key)
        if known is not None:
            self._speakers.move_to_end(key)
            return known
        names, families = split_devices(raw)
        problems = [Problem.NONE if honest else Problem.WRONG_GATEWAY] * len(names)
        judged = self._judge(names, families, gateway_row, problems)
        self._speakers[key] = judged
        self._kept_bytes += len(raw)
        while self._kept_bytes > CACHE_BYTES:
            (_, _, old), _ = self._speakers.popitem(last=False)
            self._kept_bytes -= len(old)
        return judged

    def of_quantities(self, raw: bytes) -> Measurands:
        """The quantity dictionary of a pack. Raises `Refused` when it can't be read."""
        known = self._measurands.get(raw)
        if known is None:
            if len(self._measurands) >= CACHE_QUANTITIES:
                self._measurands.clear()
            known = self._measurands[raw] = measurands(split_quantities(raw))
        return known

    def of_recording(self, names: tuple[str, ...], families: tuple[str, ...]) -> Speakers:
        """A recording's line: nobody claims to be a gateway, so the registry's binding holds."""
        return self._kept_foreign("", names, families)

    def of_topic(self, names: tuple[str, ...], families: tuple[str, ...], topic: str) -> Speakers:
        """A message on a foreign device's topic. Raises `Refused` for a bad topic.

        The device speaks for itself alone: another name in the message is a fault.
        """
        return self._kept_foreign(topic, names, families)

    def _kept_foreign(
        self, topic: str, names: tuple[str, ...], families: tuple[str, ...]
    ) -> Speakers:
        key = (topic, names, families)
        known = self._foreigners.get(key)
        if known is None:
            problems = [Problem.NONE] * len(names)
            if topic:
                problems = self._topic_problems(names, families, parse_foreign(topic))
            if len(self._foreigners) >= CACHE_FOREIGNERS:
                self._forget_foreigners()
            known = self._foreigners[key] = self._foreign(names, families, problems)
            if known.clean and len(names) == 1:
                place, kept = (topic, self.on_topic) if topic else (names[0], self.in_recording)
                kept[place] = _known(known)
        return known

    def _forget_foreigners(self) -> None:
        self._foreigners.clear()
        self.on_topic.clear()
        self.in_recording.clear()

    def _topic_problems(
        self, names: tuple[str, ...], families: tuple[str, ...], topic: ForeignTopic
    ) -> list[Problem]:
        problems = []
        for name, family in zip(names, families, strict=True):
            row = self.directory.row_of.get(name, -1)
            problem = Problem.NONE
            if name != topic.device:
                problem = Problem.WRONG_DEVICE
            elif self._bound_elsewhere(row, name):
                problem = Problem.WRONG_GATEWAY
            elif family != topic.family:
                problem = Problem.WRONG_FAMILY
            elif self._other_grid(row, topic.grid):
                problem = Problem.WRONG_GRID
            problems.append(problem)
        return problems

    def of_senml(
        self, names: tuple[str, ...], families: tuple[str, ...], topic: ForeignTopic
    ) -> Speakers:
        """A SenML pack may hold several devices: the topic's device speaks as their gateway."""
        gateway_row = self.gateway(topic.device)
        problems = []
        for name, family in zip(names, families, strict=True):
            row = self.directory.row_of.get(name, -1)
            problem = Problem.NONE
            if name == topic.device and family != topic.family:
                problem = Problem.WRONG_FAMILY
            elif self._other_grid(row, topic.grid):
                problem = Problem.WRONG_GRID
            problems.append(problem)
        return self._judge(names, families, gateway_row, problems)

    def own_device(self, gateway_row: int) -> int:
        """The directory row of a gateway as a device of its own; -1 when the directory is full.

        To be asked as soon as a gateway speaks, so that rows are given in log order.
        """
        row = self._own.get(gateway_row)
        if row is None:
            name = self.directory.gateways[gateway_row]
            row = self.directory.intern_device(name, "gateway", gateway_row)
            self._own[gateway_row] = row
        return row

    def is_listed(self, device: int) -> bool:
        """Whether the device and its grid are in the registry."""
        return device < self.directory.registered and int(self._grid[device]) >= 0

    def _bound_elsewhere(self, row: int, name: str) -> bool:
        if row < 0:
            return False
        gateway = int(self.directory.gateway[row])
        return gateway >= 0 and self.directory.gateways[gateway] != name

    def _other_grid(self, row: int, claimed: str) -> bool:
        if not 0 <= row < self.directory.registered:
            return False
        grid = int(self._grid[row])
        return grid >= 0 and self._grid_code[grid] != claimed

    def _foreign(
        self, names: tuple[str, ...], families: tuple[str, ...], problems: list[Problem]
    ) -> Speakers:
        """Each device without a gateway becomes its own."""
        gateways = []
        for name in names:
            row = self.directory.row_of.get(name, -1)
            bound = int(self.directory.gateway[row]) if row >= 0 else -1
            gateways.append(bound if bound >= 0 else self.gateway(name))
        return self._judge(names, families, gateways, problems)

    def _judge(
        self,
        names: tuple[str, ...],
        families: tuple[str, ...],
        gateways: int | Sequence[int],
        problems: list[Problem],
    ) -> Speakers:
        """gateways: the row of the speaker, one for all or one an entry."""
        count = len(names)
        device = np.full(count, -1, np.int32)
        home = np.full(count, gateways if isinstance(gateways, int) else -1, np.int32)
        flags = np.zeros(count, np.uint16)
        problem = np.array(problems, np.uint8)
        for k, (name, family) in enumerate(zip(names, families, strict=True)):
            speaker = gateways if isinstance(gateways, int) else gateways[k]
            row, found = self._intern(name, family, speaker)
            device[k] = row
            if row < 0:
                problem[k] = found
                continue
            home[k] = self.directory.gateway[row]
            if found and not problem[k]:
                problem[k] = found
            if not self.is_listed(row):
                flags[k] = Flag.UNREGISTERED
        return Speakers(
            names,
            families,
            device,
            home,
            flags,
            problem,
            clean=not problem.any(),
            listed=not flags.any(),
        )

    def _intern(self, name: str, family: str, speaker: int) -> tuple[int, Problem]:
        row = self.directory.row_of.get(name, -1)
        if row < 0:
            if not ID.fullmatch(name):
                return -1, Problem.BAD_ID
            if family not in FAMILY_INDEX:
                return -1, Problem.UNKNOWN_FAMILY
            row = self.directory.intern_device(name, family, speaker)
            return row, Problem.NONE if row >= 0 else Problem.DIRECTORY_FULL
        self.directory.intern_device(name, family, speaker)  # Binds a device without a gateway.
        # A detector speaks of other people's devices; nobody outside can speak as one.
        inner = self.directory.gateways[speaker].startswith(INNER_PREFIX)
        if int(self.directory.gateway[row]) != speaker and not inner:
            return row, Problem.WRONG_GATEWAY
        if FAMILIES[int(self.directory.family[row])] != family:
            return row, Problem.WRONG_FAMILY
        return row, Problem.NONE


def _known(speakers: Speakers) -> Known:
    """The one and only entry."""
    return Known(
        speakers.names[0],
        speakers.families[0],
        int(speakers.device[0]),
        int(speakers.home[0]),
        int(speakers.flags[0]),
    )
