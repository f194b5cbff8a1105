"""Every key of the language has its sentence, and what is shown names its source."""

from __future__ import annotations

import re

import pytest

from app.content import read_rule_files, shipped_rules
from rules import compile_rules
from rules.durations import parse_duration
from rules.effective import effective
from rules.explaining import PARTS, SENTENCES, Language, explained
from rules.schema import KEYS, LEVEL_KEYS
from rules.time_line import time_line
from tests.rules.naive import Row
from tests.rules.scene import Device, Whole, admitted, directory_of, row, short
from tests.rules.test_layers import BASE, LEVELS, SAFETY


def test_every_key_has_its_sentence_in_both_languages() -> None:
    assert set(KEYS) <= set(SENTENCES)
    assert set(LEVEL_KEYS) <= set(PARTS)
    for zh, en in (*SENTENCES.values(), *PARTS.values()):
        assert "{value}" in zh
        assert "{value}" in en


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_shipped_rule_can_be_explained(language: Language) -> None:
    files = read_rule_files(shipped_rules())
    rows = compile_rules(files).rules
    for one in effective(files):
        told = "\n".join(explained(one, [row for row in rows if row.id == one.id], language))
        assert one.id in told
        said = one.value("reason")
        assert said is not None
        assert "{value}" not in told.replace(said.texts[language], "")
        assert not re.search(r"[&*][a-z]+_", told)  # Anchors are the file's own business.


def told_of(text: str, language: Language = "en") -> list[str]:
    (one,) = effective({"a.yml": text})
    return list(explained(one, compile_rules({"a.yml": text}).rules, language))


def test_the_time_line_follows_the_delays() -> None:
    told = told_of(BASE)
    assert "It is breached while static_pressure is below 0.07 MPa." in told
    assert "It rings as level Ⅲ (yellow)." in told
    assert told[-4:] == [
        "        0s  the condition begins to hold",
        "       20s  raised, Ⅲ (yellow)",
        "    10m20s  the clearing condition begins to hold",
        "    10m20s  cleared",
    ]


LEVELLED = """
rules:
  - id: firewater.low
    title: {zh: 低, en: Low}
    on: {family: firewater}
    levels:
      - {name: warn, severity: 3, when: static_pressure < 0.10 MPa, for: 60s, clear_for: 2m}
      - name: alarm
        severity: 2
        when: static_pressure < 0.07 MPa
        for: 3m
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (BASE, 0.06),
        (BASE.replace("for: 20s", "for: 20s\n    clear_for: 90s"), 0.06),
        (BASE.replace("for: 20s", "debounce: last 30s"), 0.06),
        (BASE.replace("for: 20s", "for: 20s\n    keep: 1m"), 0.06),
        (LEVELLED, 0.08),
    ],
)
def test_the_time_line_is_what_the_engine_does(text: str, value: float) -> None:
    rows: list[Row | str] = [row(at, value, "static_pressure") for at in range(0, 600, 10)]
    rows += [row(at, 0.2, "static_pressure") for at in range(600, 1200, 10)]
    rules = compile_rules({"a.yml": text})
    runs = Whole(rules, directory_of([Device("firewater")])).run(admitted([*rows, "end"], [0]))
    (raised, _), (cleared, _) = short(runs)
    times = [line.split()[0] for line in time_line(rules.rules[:1], 1) if line.startswith("   ")]
    told = [0 if text == "0s" else parse_duration(text) or 0 for text in times]
    assert told[1] == raised * 1000
    assert told[3] - told[2] == (cleared - 600) * 1000


def test_each_level_has_its_own_time_line() -> None:
    told = told_of(LEVELLED)
    assert told[-10:] == [
        "  level warn:",
        "        0s  the condition begins to hold",
        "        1m  raised, Ⅲ (yellow)",
        "       11m  the condition is over",
        "       13m  cleared, unless a higher level holds",
        "  level alarm:",
        "        0s  the condition begins to hold",
        "        3m  raised at, or risen to, Ⅱ (orange)",
        "       13m  the condition is over",
        "       13m  falls to a lower level that still holds, else cleared",
    ]
    assert "It is one alert, whose level rises and falls: warn, alarm." in told
    assert "level alarm: It is breached while static_pressure is below 0.07 MPa." in told


def test_the_third_reading_is_no_time_of_a_clock() -> None:
    told = told_of(
        BASE.replace(
            "    clear: static_pressure > 0.08 MPa\n    severity",
            "    debounce: 3 of 5\n    severity",
        )
    )
    assert told[-5:] == [
        "        0s  a reading fits for the first time",
        "         t  3 of the last 5 readings fit",
        "     t+20s  raised, Ⅲ (yellow)",
        "  t+10m20s  fewer than 3 of the last 5 readings fit",
        "  t+10m20s  cleared",
    ]


def test_silence_begins_with_the_last_reading() -> None:
    silent = SAFETY.replace("fire != 0", "absent(24h)").replace("latched: true", "")
    silent = silent.replace("class: safety", "")
    assert told_of(silent)[-4:] == [
        "        0s  the last reading",
        "        1d  raised, Ⅰ (red)",
        "    1d10m  the next reading".replace("    1d10m", "     1d10m"),
        "     1d10m  cleared",
    ]


def test_what_is_latched_waits_and_what_is_off_never_rings() -> None:
    assert told_of(SAFETY)[-1] == "       10m  waits for an operator's reset"
    assert list(time_line((), 0)) == ["  已停用：不会报警"]


def test_values_are_shown_without_anchors_comments_or_braces_of_the_file() -> None:
    text = BASE.replace("{zh: 低, en: Low}", '&name\n      zh: 低  # said once\n      en: "a, b"')
    text += "    runbook: *name\n    # Of the next rule.\n"
    (one,) = effective({"a.yml": text})
    assert one.text("title") == '{zh: 低, en: "a, b"}'
    assert one.text("runbook") == one.text("title")
    told = told_of(text, "zh")
    assert "处置：低。" in told


def test_levels_are_shown_as_they_come_out() -> None:
    override = (
        "extends: shipped\noverrides:\n"
        "  - {rule: firewater.low, set: {levels.warn.for: 3m, levels.warn.clear: "
        "static_pressure > 0.11 MPa}}\n"
    )
    (one,) = effective({"shipped:a.yml": LEVELLED, "o.yml": override})
    levels = [(value.key, value.text, value.file) for value in one.values if "." in value.key]
    assert ("levels.warn.for", "3m", "o.yml") in levels
    assert [key for key, _, _ in levels] == [
        "levels.warn.severity",
        "levels.warn.when",
        "levels.warn.for",
        "levels.warn.clear_for",
        "levels.warn.clear",
        "levels.alarm.severity",
        "levels.alarm.when",
        "levels.alarm.for",
    ]
    assert one.text("levels") == ""


def test_each_value_says_where_it_is_from() -> None:
    override = (
        "extends: shipped\nlayer: 街道\noverrides:\n"
        '  - {rule: firewater.low, where: {grid: "34"},\n'
        "     set: {for: 5s}, why: {zh: 因, en: Reason}}\n"
        "  - {rule: efire.high, set: {levels.warn.severity: 4}}\n"
    )
    files = {"shipped:a.yml": BASE, "shipped:b.yml": LEVELS, "o.yml": override}
    base, variant, levels = effective(files)
    assert (base.name, variant.name) == ("firewater.low", "firewater.low@grid=34")
    (changed,) = [one for one in variant.values if one.key == "for"]
    assert (changed.text, changed.file, changed.line) == ("5s", "o.yml", 5)
    assert (changed.layer, changed.why.en) == ("街道", "Reason")
    (kept,) = [one for one in variant.values if one.key == "severity"]
    assert (kept.file, kept.line, kept.layer) == ("shipped:a.yml", 9, "shipped")
    assert levels.text("levels.warn.severity") == "4"
