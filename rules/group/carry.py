"""Snapshots of both stages of group rules: devices by row, groups and questions by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from contracts.predicates import COLUMNS, PredicateBatch, Verdict
from contracts.quantities import FAMILIES, FAMILY_INDEX
from contracts.where import belongs
from rules.flapping import Raises
from rules.group.changed import ALL, Wording, sure_of, wording
from rules.group.judge import ANEW, FALSE, LOST_FALSE, LOST_TRUE, NEVER, STATES, TRUE
from rules.group.operator import GroupOperator
from rules.group.predicates import Predicates
from rules.instances import NAMES, NEVER_MS, Phase, State
from rules.members import LIVE, NOT_WATCHED, Members
from rules.pieces import UNASKED
from rules.saved import SavedColumn, load, save
from rules.verdict import NOT

Rows = NDArray[np.int32]
NewRows = Callable[[Rows], Rows]
"""Old directory rows to new ones, -1 = gone."""


class SavedAnswers(msgspec.Struct, frozen=True, array_like=True):
    """Of one question. device: rows with an answer; the other columns go with it."""

    device: SavedColumn
    verdict: SavedColumn
    heard_ms: SavedColumn
    lost: SavedColumn


class SavedValues(msgspec.Struct, frozen=True, array_like=True):
    family: str
    safety: bool
    quantity: str
    device: SavedColumn
    value: SavedColumn
    ts_ms: SavedColumn


class SavedQuestions(msgspec.Struct, frozen=True, kw_only=True):
    """The first stage. questions: names, in the order of `answers`."""

    questions: tuple[str, ...] = ()
    answers: tuple[SavedAnswers, ...] = ()
    wordings: tuple[Wording, ...] = ()
    values: tuple[SavedValues, ...] = ()


class SavedStanding(msgspec.Struct, frozen=True, array_like=True):
    """Of an open alert with levels what its instances don't tell. rule: machine row at which it
    stands, counted as in the snapshot."""

    rule: int
    group: str
    onset_ms: int
    at_ms: int


class SavedFlaps(msgspec.Struct, frozen=True, array_like=True):
    """The last raises of a group by one machine row."""

    rule: int
    group: str
    flaps: bool
    at_ms: tuple[int, ...]


class SavedGroups(msgspec.Struct, frozen=True, kw_only=True):
    """The second stage. questions: names, the predicate column of `waiting` counts them. groups:
    of each active instance, whose rule counts the machine rows of the snapshot. tallies: what was
    counted for it, by which a changed membership shows. recount: those still to be judged anew.
    again: (machine row, group) still to be judged that is inactive. grounds: by key of a machine
    row, `GroupOperator.ground_of`; empty in snapshots that knew nothing of devices without a group.
    """

    questions: tuple[str, ...] = ()
    wordings: tuple[Wording, ...] = ()
    known: tuple[tuple[SavedColumn, SavedColumn], ...] = ()
    waiting: dict[str, SavedColumn] = {}
    groups: tuple[str, ...] = ()
    instances: dict[str, SavedColumn] = {}
    tallies: tuple[tuple[int, ...], ...] = ()
    recount: tuple[int, ...] = ()
    again: tuple[tuple[int, str], ...] = ()
    grounds: dict[str, tuple[str, str]] = {}
    standing: tuple[SavedStanding, ...] = ()
    flaps: tuple[SavedFlaps, ...] = ()
    held: bool = False
    floor_ms: int = NEVER_MS


Has = Callable[[Rows], NDArray[np.bool_]]
"""Which directory rows are meant."""


def pack_questions(
    predicates: Predicates, members: Members, *, names: Sequence[str], of: Has
) -> SavedQuestions:
    """names: of quantities by index."""
    if not predicates.asked:
        return SavedQuestions()
    numbers = range(len(predicates.asked))
    return SavedQuestions(
        questions=tuple(one.name for one in predicates.asked),
        wordings=tuple(wording(one.plan) for one in predicates.asked),
        answers=tuple(_pack_answers(predicates, n, members, of) for n in numbers),
        values=tuple(_pack_values(predicates, members, names, of)),
    )


def pack_groups(
    operator: GroupOperator, members: Members, directory: DeviceDirectory
) -> SavedGroups:
    if not operator.asked:
        return SavedGroups()
    state = operator.table.state
    keys = list(zip(state.rule.tolist(), state.device.tolist(), strict=True))
    waiting = _tidy(operator.waiting)
    return SavedGroups(
        questions=tuple(one.name for one in operator.asked),
        wordings=tuple(wording(one.plan) for one in operator.asked),
        known=tuple(_pack_known(operator, n, members) for n in range(len(operator.asked))),
        waiting={name: save(getattr(waiting, name)) for name in COLUMNS},
        groups=tuple(directory.groups.ids[group] for _, group in keys),
        instances={name: save(getattr(state, name)) for name in NAMES},
        tallies=tuple(operator.tally_of(rule, group) for rule, group in keys),
        standing=tuple(
            SavedStanding(one.row, directory.groups.ids[group], one.onset_ms, one.at_ms)
            for (_, _, group), one in operator.episodes.saved()
        ),
        flaps=tuple(
            SavedFlaps(rule, directory.groups.ids[group], one.flaps, tuple(one.at_ms))
            for (rule, _, group), one in operator.flaps.saved()
        ),
        recount=tuple(i for i, key in enumerate(keys) if key in operator.recount),
        again=tuple(
            (rule, directory.groups.ids[group])
            for rule, group in sorted(operator.recount - set(keys))
        ),
        grounds={
            "/".join(rule.key): operator.ground_of(number)
            for number, rule in operator.rules.items()
        },
        held=operator.held,
        floor_ms=operator.floor_ms,
    )


def _tidy(waiting: PredicateBatch) -> PredicateBatch:
    """In the order in which they will be worked in: the same state gives the same bytes."""
    keys = ("predicate", "row", "position", "device", "ts_ms")
    return waiting.take(np.lexsort([getattr(waiting, key) for key in keys]))


def _pack_answers(predicates: Predicates, number: int, members: Members, of: Has) -> SavedAnswers:
    rows = members.rows(predicates.asked[number].family)
    answers = predicates.answers[number]
    heard = answers.heard_ms[: len(rows)] > NEVER_MS
    at = np.flatnonzero((heard | (answers.verdict[: len(rows)] > 0)) & of(rows))
    return SavedAnswers(
        save(rows[at]),
        save(answers.verdict[at]),
        save(answers.heard_ms[at]),
        save(answers.lost[at]),
    )


def _pack_values(
    predicates: Predicates, members: Members, names: Sequence[str], of: Has
) -> list[SavedValues]:
    saved = []
    for (family, safety), memory in sorted(predicates.memories.items()):
        rows = members.rows(family)
        for quantity, kept in memory.kept.items():
            known = np.flatnonzero(kept.ts_ms[: len(rows)] > NEVER_MS)
            at = known[of(rows[known])]
            saved.append(
                SavedValues(
                    FAMILIES[family],
                    safety,
                    names[quantity],
                    save(rows[at]),
                    save(kept.value[at]),
                    save(kept.ts_ms[at]),
                )
            )
    return saved


def _pack_known(
    operator: GroupOperator, number: int, members: Members
) -> tuple[SavedColumn, SavedColumn]:
    rows = members.rows(operator.asked[number].family)
    at = np.flatnonzero(operator.known[number][: len(rows)])
    return save(rows[at]), save(operator.known[number][at])


def _still_known(sure: frozenset[Verdict]) -> NDArray[np.uint8]:
    """By state of a device's answer: what is known of its answer to the changed question."""
    after = np.arange(STATES, dtype=np.uint8)
    if Verdict.FALSE not in sure:
        after[FALSE] = ANEW
    if Verdict.TRUE not in sure:
        after[TRUE], after[LOST_TRUE] = ANEW, LOST_FALSE
    return after


class Unpacking:
    """Fills stages that have nothing yet of what they are given. rule_of: saved machine row -> row
    now, -1 = not usable.
    """

    def __init__(
        self,
        predicates: Predicates,
        operator: GroupOperator,
        *,
        members: Members,
        directory: DeviceDirectory,
        new: NewRows,
    ) -> None:
        self._predicates = predicates
        self._operator = operator
        self._members = members
        self._directory = directory
        self._new = new
        self._number_of = {one.name: i for i, one in enumerate(predicates.asked)}

    def fill_questions(
        self, saved: SavedQuestions, rule_of: NDArray[np.int16], index: Mapping[str, int]
    ) -> None:
        """index: quantities by name."""
        numbers = self._numbers(saved.questions, rule_of)
        for nth, (number, answers) in enumerate(zip(numbers, saved.answers, strict=True)):
            if number >= 0:
                self._fill_answers(number, answers, self._sure(saved.wordings, nth, number))
        for values in saved.values:
            self._fill_values(values, index)
        self._predicates.forget_bounds()

    def fill_groups(self, saved: SavedGroups, rule_of: NDArray[np.int16]) -> Counter[int]:
        """Saved machine row -> how many of its instances were left behind."""
        numbers = self._numbers(saved.questions, rule_of)
        for nth, (number, known) in enumerate(zip(numbers, saved.known, strict=True)):
            if number >= 0:
                rank, there = self._ranks(number, load(known[0]))
                state = load(known[1])[there]
                after = _still_known(self._sure(saved.wordings, nth, number))
                self._operator.known[number][rank] = after[state]
        if saved.waiting:
            self._fill_waiting(saved, np.array([*numbers, -1], np.int16))
        if saved.questions and not saved.grounds:
            self._fill_known_from_answers()
        self._operator.held = saved.held
        self._operator.floor_ms = max(self._operator.floor_ms, saved.floor_ms)
        left = self._fill_instances(saved, rule_of)
        self._fill_recount(saved, rule_of)
        self._fill_standing(saved, rule_of)
        self._fill_flaps(saved, rule_of)
        return left

    def _numbers(self, questions: tuple[str, ...], rule_of: NDArray[np.int16]) -> list[int]:
        """Per saved question its number now, -1 = nobody asks it any more."""
        usable = set(rule_of.tolist())
        numbers = [self._number_of.get(name, -1) for name in questions]
        return [n if n >= 0 and self._predicates.asked[n].rule in usable else -1 for n in numbers]

    def _sure(self, wordings: tuple[Wording, ...], nth: int, number: int) -> frozenset[Verdict]:
        """Answers to a saved question that still are; all where it wasn't saved how it read."""
        now = wording(self._predicates.asked[number].plan)
        return sure_of(wordings[nth], now) if wordings else ALL

    def _ranks(self, number: int, device: Rows) -> tuple[Rows, NDArray[np.intp]]:
        """(ranks of devices that the question is still asked of, where they stood)."""
        one = self._predicates.asked[number]
        rows = self._new(device)
        there = self._of_family(rows, one.family)
        rank = self._members.rank[rows[there]]
        watched = self._members.slots(LIVE, one.rule)[rank] != NOT_WATCHED
        return rank[watched], there[watched]

    def _of_family(self, rows: Rows, family: int) -> NDArray[np.intp]:
        there = np.flatnonzero(rows >= 0)
        mine: NDArray[np.intp] = there[self._directory.family[rows[there]] == family]
        return mine

    def _fill_answers(self, number: int, saved: SavedAnswers, sure: frozenset[Verdict]) -> None:
        answers = self._predicates.answers[number]
        rank, there = self._ranks(number, load(saved.device))
        verdict = load(saved.verdict)[there]
        answers.verdict[rank] = np.where(np.isin(verdict, [int(one) for one in sure]), verdict, 0)
        answers.heard_ms[rank] = load(saved.heard_ms)[there]
        answers.lost[rank] = load(saved.lost)[there]
        answers.judged[rank] = UNASKED

    def _fill_values(self, saved: SavedValues, index: Mapping[str, int]) -> None:
        family = FAMILY_INDEX.get(saved.family, -1)
        memory = self._predicates.memories.get((family, saved.safety))
        quantity = index.get(saved.quantity, -1)
        if memory is None or quantity not in memory.kept:
            return
        rows = self._new(load(saved.device))
        there = self._of_family(rows, family)
        rank = self._members.rank[rows[there]]
        kept = memory.kept[quantity]
        kept.make_room(self._members.room(family))
        kept.value[rank] = load(saved.value)[there]
        kept.ts_ms[rank] = load(saved.ts_ms)[there]

    def _fill_waiting(self, saved: SavedGroups, number_of: NDArray[np.int16]) -> None:
        columns = {name: load(saved.waiting[name]) for name in COLUMNS}
        columns["predicate"] = number_of[columns["predicate"]]
        columns["device"] = self._new(columns["device"])
        batch = PredicateBatch(**columns)
        keep = (batch.predicate >= 0) & (batch.device >= 0)
        for row in np.flatnonzero(keep).tolist():
            one = self._predicates.asked[int(batch.predicate[row])]
            keep[row] = int(self._directory.family[batch.device[row]]) == one.family
        keep &= ~self._forget_waiting(saved, batch, keep)
        self._operator.waiting = PredicateBatch.join([batch.take(keep), self._operator.waiting])

    def _forget_waiting(
        self, saved: SavedGroups, batch: PredicateBatch, keep: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Changes of devices of which one is no answer to the changed question."""
        forgotten = np.zeros(len(batch), np.bool_)
        of_name = {name: nth for nth, name in enumerate(saved.questions)}
        for number in np.unique(batch.predicate[keep]).tolist():
            one = self._predicates.asked[number]
            sure = self._sure(saved.wordings, of_name[one.name], number)
            mine = keep & (batch.predicate == number)
            said = [int(verdict) for verdict in (*sure, Verdict.LOST)]
            gone = np.unique(batch.device[mine & ~np.isin(batch.verdict, said)])
            forgotten |= mine & np.isin(batch.device, gone)
            self._operator.known[number][self._members.rank[gone]] = ANEW
        return forgotten

    def _is_watched(self, rule: int, group: int) -> bool:
        card = self._operator.rules[rule].card
        if not (card.where or card.beside):
            return True
        members = self._directory.groups.members(group).astype(np.int32)
        return bool(belongs(card, self._directory, members[:1]).all())

    def _fill_instances(self, saved: SavedGroups, rule_of: NDArray[np.int16]) -> Counter[int]:
        left: Counter[int] = Counter()
        if not saved.instances:
            return left
        state = State(*(load(saved.instances[name]) for name in NAMES))
        old_rule = state.rule
        state.rule = rule_of[old_rule]
        row_of = self._directory.groups.row_of
        state.device = np.array([row_of.get(name, -1) for name in saved.groups], np.int32)
        keep = (state.rule >= 0) & (state.device >= 0)
        for i in np.flatnonzero(keep).tolist():
            # A group that meets another variant of the rule now is counted anew.
            keep[i] = self._is_watched(int(state.rule[i]), int(state.device[i]))
        left.update(old_rule[~keep & (state.rule >= 0)].tolist())
        self._operator.table.store(state.take(keep))
        for i in np.flatnonzero(keep).tolist():
            key = (int(state.rule[i]), int(state.device[i]))
            moved = self._operator.tally_of(*key) != saved.tallies[i]
            moved |= self._asks(key[0]) != self._asked(saved, key[0])
            if moved and state.phase[i] == Phase.PENDING and self._is_over(*key):
                # By time alone it would be raised before it is judged.
                self._operator.table.drop(*key)
            elif moved or i in saved.recount:
                self._operator.recount.add(key)
        return left

    def _is_over(self, rule: int, group: int) -> bool:
        code = self._operator.verdicts_of(rule, np.array([group], np.int32))
        return bool(code[0] & NOT)

    def _fill_recount(self, saved: SavedGroups, rule_of: NDArray[np.int16]) -> None:
        """Groups that breach now, and that nobody would judge: all their devices have answered."""
        operator = self._operator
        active = set(operator.table.keys.tolist())
        found = self._again(saved, rule_of)
        for number in sorted(set(rule_of[rule_of >= 0].tolist()) & set(operator.rules)):
            name = "/".join(operator.rules[number].key)
            if saved.grounds.get(name) != operator.ground_of(number):
                found += [(number, group) for group in operator.breaching(number)]
        fresh = [key for key in found if (key[0] << 32 | key[1]) not in active]
        operator.recount.update(fresh)

    def _again(self, saved: SavedGroups, rule_of: NDArray[np.int16]) -> list[tuple[int, int]]:
        row_of = self._directory.groups.row_of
        now = [(int(rule_of[rule]), row_of.get(group, -1)) for rule, group in saved.again]
        return [key for key in now if min(key) >= 0]

    def _asks(self, number: int) -> str:
        return self._operator.ground_of(number)[0]

    def _asked(self, saved: SavedGroups, number: int) -> str:
        """What its row asked at the snapshot; the same when that isn't known."""
        known = saved.grounds.get("/".join(self._operator.rules[number].key))
        return self._asks(number) if known is None else known[0]

    def _fill_known_from_answers(self) -> None:
        """Of devices whose answers weren't counted for want of a group."""
        waiting = self._operator.waiting
        for number, answers in enumerate(self._predicates.answers):
            known = self._operator.known[number]
            fresh = (known == NEVER) & (answers.verdict[: len(known)] > 0)
            fresh[self._members.rank[waiting.device[waiting.predicate == number]]] = False
            lost = answers.lost[: len(known)][fresh]
            true = answers.verdict[: len(known)][fresh] == Verdict.TRUE
            known[fresh] = np.where(
                true, np.where(lost, LOST_TRUE, TRUE), np.where(lost, LOST_FALSE, FALSE)
            )

    def _fill_standing(self, saved: SavedGroups, rule_of: NDArray[np.int16]) -> None:
        """The rows that hold are those of the instances that have arrived."""
        episodes, state = self._operator.episodes, self._operator.table.state
        holds = (state.phase == Phase.FIRING) | (state.phase == Phase.CLEARING)
        for at in np.flatnonzero(holds & episodes.several[state.rule]).tolist():
            episodes.stand(
                int(state.rule[at]),
                LIVE,
                int(state.device[at]),
                unknown=bool(state.unknown[at]),
                onset_ms=int(state.onset[at]),
            )
        for one in saved.standing:
            row, group = int(rule_of[one.rule]), self._directory.groups.row_of.get(one.group, -1)
            subject = (episodes.public_row(row), LIVE, group)
            standing = episodes.standing.get(subject) if row >= 0 else None
            if standing is not None:
                standing.onset_ms = one.onset_ms
                standing.at_ms = max(standing.at_ms, one.at_ms)

    def _fill_flaps(self, saved: SavedGroups, rule_of: NDArray[np.int16]) -> None:
        parameters = self._operator.parameters
        for one in saved.flaps:
            row, group = int(rule_of[one.rule]), self._directory.groups.row_of.get(one.group, -1)
            number = int(parameters.flap_raises[row]) if row >= 0 and group >= 0 else 0
            if number:
                self._operator.flaps.of[row, LIVE, group] = Raises(
                    list(one.at_ms[-number:]), one.flaps
                )
