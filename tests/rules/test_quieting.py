"""`inhibit`, `shadow`, `budget`: what is refused, what a card says, and which rule comes first."""

from __future__ import annotations

import jsonschema
import pytest

from contracts.rulebook import Inhibition
from contracts.spots import SPOTS
from contracts.transitions import Change
from rules import RulesInvalid, compile_rules
from rules.editor_schema import json_schema
from rules.lint import lint
from tests.rules.naive import Row
from tests.rules.scene import Device, Whole, admitted, directory_of, row


def rule(name: str, more: str = "") -> str:
    family, _ = name.split(".")
    return (
        f"  - {{id: {name}, title: {{zh: 题, en: title}}, on: {{family: {family}}},"
        f" when: online < 1, severity: 2{', ' if more else ''}{more}}}\n"
    )


def rules(*listed: str) -> str:
    return "rules:\n" + "".join(listed)


def faults(text: str) -> list[tuple[int, str, str, str]]:
    with pytest.raises(RulesInvalid) as refused:
        compile_rules({"a.yml": text})
    return [(f.line, f.path, f.problem, f.mend) for f in refused.value.findings]


OFFLINE = rule("gateway.offline")


@pytest.mark.parametrize(
    ("more", "path", "problem", "mend"),
    [
        pytest.param("inhibit: []", "inhibit", "the list is empty", "by:", id="empty"),
        pytest.param("inhibit: {by: gateway.offline, on: grid}", "inhibit", "a list is needed",
                     "-", id="no-list"),
        pytest.param("inhibit: [gateway.offline]", "inhibit[0]", "keys and values", "", id="text"),
        pytest.param("inhibit: [{by: gateway.offline}]", "inhibit[0].on", "on is missing", "by:",
                     id="no-place"),
        pytest.param("inhibit: [{on: grid}]", "inhibit[0].by", "by is missing", "", id="no-rule"),
        pytest.param("inhibit: [{by: gateway.offline, on: grid, until: 5m}]", "inhibit[0].until",
                     "unknown key until", "", id="unknown-key"),
        pytest.param("inhibit: [{by: gateway.offline, on: grid, linger: 2 days}]",
                     "inhibit[0].linger", "'2 days' is no time to linger", "at most", id="no-time"),
        pytest.param("inhibit: [{by: gateway.offline, on: grid, linger: 25h}]",
                     "inhibit[0].linger", "'25h' is no time to linger", "at most", id="too-long"),
        pytest.param("inhibit: [{by: gateway.offline, on: bilding}]", "inhibit[0].on",
                     "unknown place bilding", "did you mean building?", id="place"),
        pytest.param("inhibit: [{by: gateway, on: grid}]", "inhibit[0].by",
                     "'gateway' names no rule", "family.*", id="no-id"),
        pytest.param("inhibit: [{by: gateway.ofline, on: grid}]", "inhibit[0].by",
                     "no rule gateway.ofline", "did you mean gateway.offline?", id="unknown"),
        pytest.param("inhibit: [{by: gatway.*, on: grid}]", "inhibit[0].by",
                     "no rule gatway.*", "did you mean gateway.*?", id="unknown-family"),
        pytest.param("inhibit: [{by: smoke.*, on: grid}]", "inhibit[0].by", "no rule smoke.*", "",
                     id="only-itself"),
        pytest.param("inhibit: [{by: smoke.silent, on: grid}]", "inhibit[0].by",
                     "can't keep itself back", "another", id="itself"),
        pytest.param("inhibit: [{by: gateway.offline, on: grid}, {by: gateway.offline, on: grid}]",
                     "inhibit[1]", "is there twice", "remove", id="twice"),
        pytest.param("shadow: yes", "shadow", "neither true nor false", "true", id="shadow"),
        pytest.param("budget: 2", "budget", "'2' is no budget", "2 per grid and day", id="budget"),
        pytest.param("budget: 0 per grid and day", "budget", "no budget", "severity: 4",
                     id="budget-of-none"),
        pytest.param("budget: 2 per building and day", "budget", "no budget", "per grid",
                     id="budget-of-another-place"),
        pytest.param("class: safety, inhibit: [{by: gateway.offline, on: grid}]", "inhibit",
                     "a safety rule always raises: inhibit is refused", "remove", id="safety-held"),
        pytest.param("class: safety, shadow: true", "shadow",
                     "a safety rule always raises: shadow is refused", "remove", id="safety-trial"),
        pytest.param("class: safety, budget: 9 per grid and day", "budget",
                     "a safety rule always raises: budget is refused", "remove",
                     id="safety-budget"),
    ],
)  # fmt: skip
def test_mistake(more: str, path: str, problem: str, mend: str) -> None:
    found = faults(rules(OFFLINE, rule("smoke.silent", more)))
    assert any(
        line == 3 and at == f"rules[1].{path}" and problem in said and mend in how
        for line, at, said, how in found
    ), found


def test_rules_that_keep_each_other_back_are_refused() -> None:
    def held_by(*others: str) -> str:
        return "inhibit: [" + ", ".join(f"{{by: {by}, on: grid}}" for by in others) + "]"

    text = rules(
        rule("gateway.a", held_by("smoke.c")),
        rule("smoke.b", held_by("gateway.a")),
        rule("smoke.c", held_by("smoke.b")),
        rule("smoke.d", held_by("smoke.c")),
        rule("smoke.e", held_by("smoke.*")),
        rule("smoke.f", held_by("smoke.e")),
    )
    found = [problem for _, _, problem, _ in faults(text)]
    assert found == [
        "rules keep each other back: gateway.a -> smoke.c -> smoke.b -> gateway.a",
        "rules keep each other back: smoke.e -> smoke.f -> smoke.e",
    ]


def test_a_faulty_rule_is_still_there_to_be_named() -> None:
    broken = OFFLINE.replace("online < 1", "onlin < 1")
    found = faults(
        rules(broken, rule("smoke.silent", "inhibit: [{by: gateway.offline, on: grid}]"))
    )
    assert [line for line, *_ in found] == [2]


def test_what_a_card_says() -> None:
    more = "inhibit: [{by: gateway.*, on: gateway}], shadow: true, budget: 2  per grid and day"
    cards = compile_rules({"a.yml": rules(OFFLINE, rule("efire.silent", more))}).cards
    card = next(card for card in cards if card.id == "efire.silent")

    assert card.inhibit == (Inhibition(by="gateway.*", on="gateway"),)
    assert (card.shadow, card.budget) == (True, 2)


def test_the_hash_covers_what_keeps_people_from_hearing() -> None:
    def hashed(more: str) -> str:
        cards = compile_rules({"a.yml": rules(OFFLINE, rule("smoke.silent", more))}).cards
        return next(card.hash for card in cards if card.id == "smoke.silent")

    ways = [
        "",
        "inhibit: [{by: gateway.offline, on: grid}]",
        "inhibit: [{by: gateway.offline, on: gateway}]",
        "shadow: true",
        "budget: 2 per grid and day",
        "budget: 3 per grid and day",
    ]
    assert len({hashed(way) for way in ways}) == len(ways)
    assert hashed("shadow: false") == hashed("")


@pytest.mark.parametrize("spot", SPOTS)
def test_the_schema_for_editors_agrees(spot: str) -> None:
    check = jsonschema.Draft202012Validator(json_schema())
    good = {
        "id": "smoke.silent", "title": {"zh": "题", "en": "t"}, "on": {"family": "smoke"},
        "when": "online < 1", "severity": 2,
        "inhibit": [{"by": "gateway.*", "on": spot, "linger": "2m"}], "shadow": True,
        "budget": "2 per grid and day",
    }  # fmt: skip
    check.validate({"rules": [good]})
    wrong: object
    for wrong in (
        {"inhibit": []},
        {"inhibit": [{"by": "gateway", "on": spot}]},
        {"inhibit": [{"by": "gateway.*"}]},
        {"inhibit": [{"by": "gateway.*", "on": "street"}]},
        {"inhibit": [{"by": "gateway.*", "on": spot, "linger": 120}]},
        {"shadow": "yes"},
        {"budget": 2},
    ):
        assert not check.is_valid({"rules": [good | wrong]})


def told(text: str, records: list[Row | str]) -> list[str]:
    """The rules that raise, in the order in which dispatch hears them."""
    ruleset = compile_rules({"a.yml": text})
    directory = directory_of([Device("smoke", 0, {})])
    changes = Whole(ruleset, directory).run(admitted(records, [0]))
    return [ruleset.cards[one.rule].id for one in changes if one.change == Change.RAISED]


@pytest.mark.parametrize("hold", ["", "for: 10s"], ids=["instant", "timed"])
def test_at_the_same_time_the_inhibitor_is_told_first(hold: str) -> None:
    """Whatever the names: z before a."""
    late = rule("smoke.z", hold)
    early = rule("smoke.a", ", ".join(filter(None, [hold, "inhibit: [{by: smoke.m, on: device}]"])))
    middle = rule("smoke.m", ", ".join(filter(None, [hold, "inhibit: [{by: smoke.z, on: grid}]"])))
    records: list[Row | str] = [row(0, 0.0, "online"), row(20, 0.0, "online"), "mark", "end"]
    assert told(rules(early, middle, late), records) == ["smoke.z", "smoke.m", "smoke.a"]
    plain = rules(rule("smoke.a", hold), rule("smoke.m", hold), rule("smoke.z", hold))
    assert told(plain, records) == ["smoke.a", "smoke.m", "smoke.z"]


def test_what_could_be_written_better() -> None:
    text = rules(
        rule("gateway.offline", "shadow: true"),
        rule("smoke.silent", "inhibit: [{by: gateway.offline, on: riser}]"),
        rule("smoke.low", "budget: 1 per grid and day").replace("severity: 2", "severity: 4"),
    )
    found = {(f.path, f.problem) for f in lint(compile_rules({"a.yml": text}), {"building": {"1"}})}
    assert {
        ("smoke.silent.inhibit", "gateway.offline is in shadow: it keeps nothing back"),
        ("smoke.silent.inhibit", "no device has the attribute riser: nothing is kept back"),
        ("smoke.low.budget", "it is level Ⅳ within its budget already"),
    } <= found


def test_who_is_told_is_no_part_of_what_decides() -> None:
    def decides(more: str) -> str:
        cards = compile_rules({"a.yml": rules(OFFLINE, rule("smoke.silent", more))}).cards
        return next(card.decides for card in cards if card.id == "smoke.silent")

    plain = decides("")
    for quiet in ("inhibit: [{by: gateway.offline, on: grid}]", "shadow: true",
                  "budget: 2 per grid and day"):  # fmt: skip
        assert decides(quiet) == plain
    assert decides("for: 5s") != plain
