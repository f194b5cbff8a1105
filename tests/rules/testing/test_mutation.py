"""Changes that are made to rules, one at a time, and rule files cut down to one rule."""

from __future__ import annotations

import pytest

from rules import compile_rules
from rules.testing.editing import Cut, shortest_fors
from rules.testing.index import written_rules
from rules.testing.mutation import Mutant, mutants

TEXT = """\
# A comment that keeps lines apart.
rules:
  - id: ebike.hot
    title: {zh: 热 30s, en: hot 30s}
    on: {family: ebike, port: [a, b]}
    when: port_temperature >= 80 degC or stop_reason in [10, 11]
    for: 30s
    clear: port_temperature < 75 degC
    severity: 2
    missing: unknown after 15m
    latched: true
    reason: {zh: 第 5 次, en: at 5 degC}
  - id: ebike.silent
    title: {zh: 静, en: silent}
    on: {family: ebike}
    when: absent(24h) and zone == "5 north"
    severity: 1
    class: safety
"""


def found(rule: str) -> list[Mutant]:
    return list(mutants(written_rules({"a.yml": TEXT.replace(' and zone == "5 north"', "")})[rule]))


def test_every_limit_and_delay_moves() -> None:
    told = [(one.line, one.where, one.what) for one in found("ebike.hot")]
    assert told == [
        (6, "when", ">= -> >"),
        (6, "when", "80 degC -> 84 degC"),
        (6, "when", "80 degC -> 76 degC"),
        (6, "when", "10 -> 11"),
        (6, "when", "10 -> 9"),
        (6, "when", "11 -> 12"),
        (6, "when", "11 -> 10"),
        (7, "for", "left out"),
        (7, "for", "30s -> 31s500ms"),
        (7, "for", "30s -> 28s500ms"),
        (8, "clear", "left out"),
        (8, "clear", "< -> <="),
        (8, "clear", "75 degC -> 78.75 degC"),
        (8, "clear", "75 degC -> 71.25 degC"),
        (9, "severity", "2 -> 1 or 3"),
        (10, "missing", "left out"),
        (10, "missing", "15m -> 15m45s"),
        (10, "missing", "15m -> 14m15s"),
        (11, "latched", "true -> false"),
    ]


def test_durations_in_expressions_move_too() -> None:
    (up, down, severity) = found("ebike.silent")
    assert "absent(1d1h12m)" in up.texts
    assert "absent(22h48m)" in down.texts
    assert severity.what == "1 -> 2"


def test_texts_in_quotes_stay() -> None:
    rule = written_rules({"a.yml": TEXT})["ebike.silent"]
    assert all(
        'zone == "5 north"' in text
        for one in mutants(rule)
        for text in one.texts[:1]
        if "absent" in text
    )


@pytest.mark.parametrize("rule", ["ebike.hot", "ebike.silent"])
def test_each_change_can_be_compiled_and_means_something_else(rule: str) -> None:
    files = {"a.yml": TEXT.replace("    class: safety\n", "")}
    rules = written_rules(files)
    cut = Cut(rules[rule], rules, files)
    base = compile_rules(cut.files())
    assert {one.id for one in base.rules} == {rule}
    assert base.cards == tuple(c for c in compile_rules(files).cards if c.id == rule)
    for mutant in mutants(rules[rule]):
        text = mutant.texts[-1] if mutant.texts else None
        changed = compile_rules(cut.files(mutant, text))
        assert changed.hash != base.hash, mutant


def test_advice_names_a_series_between_the_limits() -> None:
    advice = {one.what: one.advice for one in found("ebike.hot")}
    assert "port_temperature: 82x12 degC" in advice["80 degC -> 84 degC"]
    assert "port_temperature: 80x12 degC" in advice[">= -> >"]
    assert "severity: 2" in advice["2 -> 1 or 3"]


def test_at_once_is_the_shortest_for() -> None:
    rules = written_rules({"a.yml": TEXT})
    (variant,) = shortest_fors(rules["ebike.hot"]).values()
    cut = Cut(rules["ebike.hot"], rules, {"a.yml": TEXT})
    (row,) = compile_rules(cut.files(variant, variant.texts[0])).rules
    assert (row.for_ms, row.timed) == (1, True)
    assert shortest_fors(rules["ebike.silent"]) == {}


def test_what_a_rule_names_is_kept_with_it() -> None:
    text = TEXT.replace('zone == "5 north"', "ebike_other == 'x'").replace(
        "    latched: true\n", "    owner: ebike.hot\n    inhibit: [{by: ebike.silent, on: grid}]\n"
    )
    rules = written_rules({"a.yml": text})
    (kept,) = Cut(rules["ebike.hot"], rules, {"a.yml": text}).files().values()
    assert "id: ebike.silent" in kept
    alone = written_rules({"a.yml": TEXT})
    (cut,) = Cut(alone["ebike.hot"], alone, {"a.yml": TEXT}).files().values()
    assert "ebike.silent" not in cut


def test_files_without_rules_of_their_own_are_kept() -> None:
    layer = "overrides: [{rule: ebike.hot, set: {severity: 1}}, {rule: ebike.silent, set: {}}]\n"
    days = 'calendar: {"2026-05-09": {workday: make-up day}}\n'
    files = {"a.yml": TEXT, "days.yml": days, "ours.yml": layer}
    rules = written_rules(files)
    cut = Cut(rules["ebike.hot"], rules, files).files()
    assert "severity: 1" in cut["ours.yml"]
    assert "ebike.silent" not in cut["ours.yml"]
    assert "make-up day" in cut["days.yml"]
