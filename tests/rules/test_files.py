"""Rule files that are refused: each mistake, its line, what is said and the mend."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from rules import RulesInvalid, compile_rules
from rules.editor_schema import json_schema
from rules.schema import KEYS

GOOD = """\
rules:
  - id: efire.high
    title: {zh: 过高, en: High}
    on: {family: efire}
    when: residual_current >= 500 mA
    for: 30s
    severity: 2
"""


LEVELS = """\
rules:
  - id: efire.high
    title: {zh: 过高, en: High}
    on: {family: efire}
    levels:
      - {name: warn, severity: 3, when: residual_current >= 300 mA}
      - {name: alarm, severity: 2, when: residual_current >= 500 mA}
"""


def faults(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(RulesInvalid) as refused:
        compile_rules({"a.yml": text})
    return [(f.line, f.problem, f.mend) for f in refused.value.findings]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


WHEN = "residual_current >= 500 mA"
SEQUENCE = """\
rules:
  - id: efire.spread
    title: {zh: 蔓延, en: Spread}
    on: {family: efire}
    sequence: [{when: fire != 0},
      {when: arc != 0, within: 5m}]
    clear: arc == 0
    severity: 2
"""


@pytest.mark.parametrize(
    ("text", "line", "problem", "mend"),
    [
        pytest.param("a: [", 1, "no YAML", "", id="yaml"),
        pytest.param("", 1, "the file is empty", "rules", id="empty"),
        pytest.param("rule: []", 1, "unknown key rule", "did you mean rules?", id="top"),
        pytest.param(changed("    for: 30s", "    during: night"), 6, "unknown schedule night",
                     "schedules:", id="no-such-schedule"),
        pytest.param("schedules: {night: {days: sat}}\n" + changed("    for: 30s",
                     "    during: nihgt"), 7, "unknown schedule nihgt", "night?",
                     id="schedule-misspelt"),
        pytest.param(changed("    for: 30s", "    during: {hours: '22-6'}"), 6, "no range",
                     "22:00-06:00", id="during-hours"),
        pytest.param(changed(WHEN, "arc != 0 or zone == 'a'").replace("for: 30s",
                     "debounce: 2 of 3\n    missing: raise after 1h"), 7, "whose silence", "on:",
                     id="debounce-hides-an-attribute"),
        pytest.param(changed("    for: 30s", "    during: {days: sat}\n    class: safety"), 6,
                     "always raises: during is refused", "remove", id="safety-during"),
        pytest.param(changed("    for: 30s", "    debounce: 2 of 3\n    class: safety"), 6,
                     "always raises: debounce is refused", "remove", id="safety-debounce"),
        pytest.param(changed(WHEN, "absent(24h)\n    during: {days: sat}"), 6,
                     "absent has no during", "leave", id="absent-during"),
        pytest.param(changed(WHEN, "absent(24h)\n    debounce: 2 of 3"), 6,
                     "absent has no debounce", "leave", id="absent-debounce"),
        pytest.param(changed("    for: 30s", "    debounce: often"), 6, "debounces nothing",
                     "3 of 5", id="debounce"),
        pytest.param(changed("    for: 30s", "    keep: 30s\n    debounce: first 30s"), 7,
                     "keep is there too", "leave debounce out", id="debounce-and-keep"),
        pytest.param(changed("    for: 30s", "    debounce: 5 of 3"), 6, "can't be counted",
                     "n at most m", id="debounce-more-than-all"),
        pytest.param(changed("    for: 30s", "    debounce: 3 of 65"), 6, "can't be counted",
                     "64", id="debounce-too-many"),
        pytest.param(changed("    for: 30s", "    debounce: last 30"), 6, "no duration", "30s",
                     id="debounce-duration"),
        pytest.param(changed("    for: 30s", "    for: 30s\n    debounce: last 30s"), 7,
                     "for is there too", "leave debounce out", id="debounce-and-for"),
        pytest.param(SEQUENCE.replace("severity", "for: 30s\n    severity"), 8, "can't last",
                     "leave for out", id="sequence-for"),
        pytest.param(SEQUENCE.replace("    clear: arc == 0\n", ""), 5, "nothing says when",
                     "clear:", id="sequence-without-end"),
        pytest.param(SEQUENCE.replace("severity", "when: arc != 0\n    severity"), 5,
                     "two conditions", "one", id="sequence-and-when"),
        pytest.param(SEQUENCE.replace("severity", "debounce: 2 of 3\n    severity"), 8,
                     "complete at one moment", "debounce", id="sequence-debounce"),
        pytest.param(SEQUENCE.replace(", within: 5m", ""), 6, "within is missing", "within: 10m",
                     id="sequence-within"),
        pytest.param(SEQUENCE.replace("fire != 0", "fire != 0, within: 5m"), 5,
                     "comes after none", "remove", id="sequence-first-within"),
        pytest.param(SEQUENCE.replace("5m", "5"), 6, "no duration", "60s", id="step-duration"),
        pytest.param(SEQUENCE.replace("fire != 0", "fire !! 0"), 5, "can't read", "not", id="step"),
        pytest.param(SEQUENCE.replace("fire != 0", "absent(5m)"), 5, "absent is no step", "silence",
                     id="step-absent"),
        pytest.param(SEQUENCE.replace("fire != 0", "zone == 'a'"), 5, "looks at no reading",
                     "quantity", id="step-without-reading"),
        pytest.param(SEQUENCE.replace("fire != 0", "static_pressure > 1 MPa"), 5,
                     "no static_pressure", "firewater", id="step-family"),
        pytest.param(SEQUENCE.replace("fire != 0", "fire != 0 and zone == 'a'").replace(
            "severity", "class: safety\n    severity"), 5, "may not hang on an attribute", "on:",
                     id="step-attribute"),
        pytest.param(SEQUENCE.replace(",\n      {when: arc != 0, within: 5m}", ""), 5,
                     "a sequence of 1 steps", "2 to 8", id="one-step"),
        pytest.param(SEQUENCE.replace("{when: fire != 0}", "{wenn: fire != 0}"), 5,
                     "unknown key wenn", "when?", id="step-key"),
        pytest.param("schedules: {night: 3}", 1, "keys and values", "", id="schedule"),
        pytest.param("schedules: {night: {}}", 1, "neither hours", "22:00", id="schedule-empty"),
        pytest.param("schedules: {night: []}", 1, "0 parts", "1 to", id="schedule-no-parts"),
        pytest.param("schedules: {Night: {days: sat}}", 1, "no name", "a-z", id="schedule-name"),
        pytest.param("schedules: {n: {hour: 1}}", 1, "unknown key hour", "hours?", id="part-key"),
        pytest.param("schedules: {n: {hours: 22-6}}", 1, "no range", "22:00-06:00", id="hours"),
        pytest.param("schedules: {n: {hours: '00:00-24:30'}}", 1, "after 24:00", "", id="past-24"),
        pytest.param("schedules: {n: {hours: '06:00-06:00'}}", 1, "is empty", "24:00",
                     id="no-hours"),
        pytest.param("schedules: {n: {days: [mon, thu, monday]}}", 1, "unknown day monday", "mon",
                     id="day"),
        pytest.param("schedules: {n: {days: sat, zone: Asia/Beijing}}", 1,
                     "unknown time zone Asia/Beijing", "", id="zone"),
        pytest.param("schedules: {n: {days: sat, zone: Asia/Shanghia}}", 1,
                     "unknown time zone", "Asia/Shanghai", id="zone-misspelt"),
        pytest.param("calendar: {2026-02-30: {holiday: x}}", 1, "no date", "2026-01-01", id="date"),
        pytest.param("calendar: {2026-01-03..2026-01-01: {holiday: x}}", 1, "no range", "first",
                     id="dates-backwards"),
        pytest.param("calendar: {2026-01-01: holiday}", 1, "keys and values", "", id="day-kind"),
        pytest.param("calendar: {2026-01-01: {workday: x, holiday: y}}", 1,
                     "a holiday or a workday", "holiday:", id="day-both"),
        pytest.param("calendar: {2026-01-01: {freeday: x}}", 1, "unknown key freeday", "",
                     id="day-other"),
        pytest.param(
            "calendar: {2026-01-01..2026-01-03: {holiday: x}, 2026-01-03: {workday: y}}", 1,
            "2026-01-03 is there twice", "remove", id="day-twice",
        ),
        pytest.param("rules: 3", 1, "a list is needed", "-", id="no-list"),
        pytest.param("rules: [3]", 1, "keys and values are needed", "", id="no-rule"),
        pytest.param(
            changed("for:", "fro:"), 6, "unknown key fro", "did you mean for?", id="misspelt"
        ),
        pytest.param(
            changed("    severity: 2", "    severity: 2\n    severity: 3"),
            8, "the key is there twice", "remove", id="twice",
        ),
        pytest.param(changed("severity: 2", "severity: 0"), 7, "no severity", "1 (", id="severity"),
        pytest.param(changed("    severity: 2\n", ""), 2, "severity is missing", "add", id="less"),
        pytest.param(changed("30s", "30"), 6, "no duration", "60s", id="duration"),
        pytest.param(changed("efire}", "efier}"), 4, "unknown family", "efire", id="family"),
        pytest.param(changed("efire.high", "High"), 2, "is no id", "family.condition", id="id"),
        pytest.param(changed(", en: High", ""), 3, "en is missing", "zh and in en", id="language"),
        pytest.param(
            changed("en: High", 'en: "{valeu} high"'), 3, "placeholder", "value", id="placeholder"
        ),
        pytest.param(
            changed("en: High", 'en: "{size} high"'), 3, "the rule has no group", "group:",
            id="size",
        ),
        pytest.param(
            GOOD.replace("    for: 30s", "    reason: {zh: '{for}', en: x}"), 6,
            "the rule has no for", "for:", id="no-for-to-tell",
        ),
        pytest.param(changed(WHEN, "residual_curent > 1 mA"), 5, "unknown quantity",
                     "residual_current", id="quantity"),
        pytest.param(changed(WHEN, "residual_current > 1 MPa"), 5,
                     "mA can't be compared with MPa", "", id="dimension"),
        pytest.param(changed(WHEN, "residual_current > 1"), 5, "1 has no unit", "1 mA", id="bare"),
        pytest.param(changed(WHEN, "residual_current > 1 ma"), 5, "unknown unit 'ma'", "mA",
                     id="unit"),
        pytest.param(changed(WHEN, "static_pressure > 1 MPa"), 5, "no static_pressure",
                     "firewater", id="family-quantity"),
        pytest.param(changed(WHEN, "arc"), 5, "arc is a number", "arc == 1", id="no-condition"),
        pytest.param(changed(WHEN, "arc = 1"), 5, "single =", "==", id="assign"),
        pytest.param(changed(WHEN, "arc == 1 && arc == 2"), 5, "can't read", "and", id="c-and"),
        pytest.param(changed(WHEN, "1 mA < residual_current < 2 mA"), 5, "chained", "and",
                     id="chained"),
        pytest.param(changed(WHEN, "arc =="), 5, "ends too early", "", id="early"),
        pytest.param(changed(WHEN, "1 == 1"), 5, "two constants", "quantity", id="constants"),
        pytest.param(changed(WHEN, "zone == 'a'"), 5, "looks at no reading", "", id="no-reading"),
        pytest.param(changed(WHEN, "arc in [1, 'a']"), 5, "mixes", "", id="mixed-list"),
        pytest.param(changed(WHEN, "zone < 'a'"), 5, "no order", "==", id="text-order"),
        pytest.param(changed(WHEN, "cable_temperature + temperature > 3 degC"), 5,
                     "can't be added", "", id="two-temperatures"),
        pytest.param(changed(WHEN, "absant(24h)"), 5, "unknown function", "absent", id="function"),
        pytest.param(changed(WHEN, "avg(residual_current)"), 5, "avg is a number", "compare",
                     id="window-no-condition"),
        pytest.param(changed(WHEN, "avg(residual_current) > 3 mA"), 5, "takes 2 arguments",
                     "avg(co2, 5m)", id="window-arguments"),
        pytest.param(changed(WHEN, "avg(residual_current, 5m) > 3 MPa"), 5,
                     "mA can't be compared with MPa", "", id="window-dimension"),
        pytest.param(changed(WHEN, "rate(residual_current, 5m) > 3 mA"), 5,
                     "mA/s can't be compared with mA", "", id="window-rate"),
        pytest.param(changed(WHEN, "rate(residual_current, 5m) > 3 mA/furlong"), 5,
                     "unknown unit 'mA/furlong'", "", id="window-rate-unit"),
        pytest.param(changed(WHEN, "sum(temperature, 5m) > 3 degC"), 5, "can't be added", "avg",
                     id="window-sum-of-temperatures"),
        pytest.param(changed(WHEN, "avg(residual_current * 2, 5m) > 3 mA"), 5,
                     "looks at one quantity", "avg(co2, 5m)", id="window-expression"),
        pytest.param(changed(WHEN, "avg(residual_curent, 5m) > 3 mA"), 5,
                     "unknown quantity residual_curent", "residual_current?", id="window-quantity"),
        pytest.param(changed(WHEN, "avg(static_pressure, 5m) > 3 MPa"), 5,
                     "efire devices have no static_pressure", "firewater", id="window-family"),
        pytest.param(changed(WHEN, "avg(residual_current, 32d) > 3 mA"), 5, "more than 31d",
                     "shorter", id="window-long"),
        pytest.param(changed(WHEN, "avg(residual_current, 5) > 3 mA"), 5, "wants a duration", "5m",
                     id="window-no-duration"),
        pytest.param(changed(WHEN, "quantile(residual_current, 2, 5m) > 3 mA"), 5, "0 to 1", "0.9",
                     id="window-share"),
        pytest.param(changed(WHEN, "age(residual_current) > residual_current"), 5,
                     "wants a duration", "10m", id="age-of-what"),
        pytest.param(changed(WHEN, "age(residual_current) == 10m"), 5, "by < or >", "10m",
                     id="age-equal"),
        pytest.param(changed(WHEN, "age(residual_current) * 2 > 10m"), 5, "a duration only", "10m",
                     id="age-computed"),
        pytest.param(changed(WHEN, "absent(24)"), 5, "one duration", "absent(24h)", id="absent"),
        pytest.param(changed(WHEN, "absent(24h) or arc == 1"), 5, "stands alone", "",
                     id="absent-and-more"),
        pytest.param(changed(WHEN, "not absent(24h)"), 5, "can't be turned round", "",
                     id="absent-negated"),
        pytest.param(changed("    for: 30s", "    missing: unknown after 20s\n    for: 30s"), 6,
                     "before the rule can raise", "longer", id="missing-too-short"),
        pytest.param(changed("    for: 30s", "    keep: 10"), 6, "no duration", "60s", id="keep"),
        pytest.param(changed("    for: 30s", "    keep: 1m\n    clear_for: 1m"), 7,
                     "say the same", "leave one", id="keep-and-clear-for"),
        pytest.param(changed("    for: 30s", "    keep: 1m\n    latched: true"), 6,
                     "ends by reset only", "leave keep or latched", id="keep-and-latched"),
        pytest.param(changed(WHEN, "arc != 0") + "    keep: 1m\n    clear: arc == 0\n", 9,
                     "ends by itself", "leave clear or keep", id="keep-and-clear"),
        pytest.param(changed(WHEN, "arc != 0") + "    keep: 1m\n    missing: unknown after 1h\n", 9,
                     "with or without data", "leave missing out", id="keep-and-missing"),
        pytest.param(changed(WHEN, "fire != 0") + "    keep: 1m\n    class: safety\n", 8,
                     "isn't over because time has passed", "latched", id="keep-and-safety"),
        pytest.param(changed("    for: 30s", "    flapping: 4"), 6, "keys and values", "",
                     id="flapping"),
        pytest.param(changed("    for: 30s", "    flapping: {raises: 4, within: 1h}"), 6,
                     "for is missing", "raises: 4", id="flapping-for"),
        pytest.param(changed("    for: 30s", "    flapping: {raises: 1, within: 1h, for: 5m}"), 6,
                     "no number of 2 to 20", "raises: 4", id="flapping-raises"),
        pytest.param(changed("    for: 30s", "    flapping: {raises: 4, within: x, for: 5m}"), 6,
                     "no duration", "5m", id="flapping-within"),
        pytest.param(GOOD + "    flapping: {raises: 4, within: 1h, for: 30s}\n", 8,
                     "isn't longer than the rule's 30s", "longer", id="flapping-short"),
        pytest.param(GOOD + "    class: safety\n    flapping: {raises: 4, within: 1h, for: 1m}\n",
                     9, "flapping is refused", "remove", id="flapping-and-safety"),
        pytest.param(changed("    for: 30s", "    late: dorp"), 6, "unknown word dorp",
                     "did you mean drop?", id="late"),
        pytest.param(changed(WHEN, "absent(24h)") + "    late: fire\n", 8,
                     "absent hears every reading", "remove", id="late-and-absent"),
        pytest.param(changed(WHEN, "avg(residual_current, 5m) > 1 mA") + "    late: fire\n", 8,
                     "looks back on readings", "leave late out", id="late-fire-and-window"),
        pytest.param(changed(f"    when: {WHEN}\n    for: 30s\n    severity: 2",
                             "    levels: [{name: a, severity: 2, when: arc != 0}]"), 5,
                     "two or more", "without levels", id="one-level"),
        pytest.param(LEVELS.replace("severity: 3", "severity: 2"), 7, "isn't more severe than warn",
                     "comes first", id="levels-out-of-order"),
        pytest.param(LEVELS.replace("name: alarm", "name: warn"), 7, "warn is there twice",
                     "rename", id="levels-of-one-name"),
        pytest.param(LEVELS.replace("name: warn", "name: missing"), 6, "means that data is missing",
                     "rename", id="level-missing"),
        pytest.param(LEVELS.replace("name: warn, ", ""), 6, "name is missing", "add", id="no-name"),
        pytest.param(LEVELS + "    when: arc != 0\n", 8, "when stands beside levels", "each level",
                     id="levels-and-when"),
        pytest.param(LEVELS.replace(">= 300 mA", ">= 300 mA or zone == 'a'")
                     + "    missing: raise after 1h\n", 8, "whose silence", "on:",
                     id="silence-of-whom"),
        pytest.param(changed("    for: 30s", "    missing: raise"), 6, "missing data", "hold",
                     id="missing"),
        pytest.param(changed("    for: 30s", "    class: safety\n    late: drop"), 7,
                     "a safety rule always raises", "remove", id="safety-late"),
        pytest.param(changed("    for: 30s", "    silence: 5m"), 6, "made quiet", "remove",
                     id="silence"),
        pytest.param(changed(WHEN, "arc == 1 and zone == 'a'") + "    class: safety\n", 5,
                     "may not hang on an attribute", "on:", id="safety-attribute"),
        pytest.param(changed("    for: 30s", "    latched: yes"), 6, "neither true nor false",
                     "true", id="flag"),
    ],
)  # fmt: skip
def test_mistake(text: str, line: int, problem: str, mend: str) -> None:
    found = faults(text)
    assert any(f[0] == line and problem in f[1] and mend in f[2] for f in found), found


def test_all_faults_are_told_at_once() -> None:
    assert len(faults(changed("30s", "x").replace("severity: 2", "severity: 9"))) == 2


def test_a_second_rule_of_the_same_id_is_refused() -> None:
    with pytest.raises(RulesInvalid) as refused:
        compile_rules({"a.yml": GOOD, "b.yml": GOOD})
    assert str(refused.value).startswith("b.yml:2: rules[0].id: efire.high is already defined")


def test_what_files_share_is_said_once() -> None:
    said = "schedules: {night: {hours: '22:00-06:00'}}\ncalendar: {2026-01-01: {holiday: x}}"
    with pytest.raises(RulesInvalid) as refused:
        compile_rules({"a.yml": said, "b.yml": said})
    assert [str(f).split("; ")[0] for f in refused.value.findings] == [
        "b.yml:1: schedules.night: night is already defined in a.yml:1",
        "b.yml:2: calendar: 2026-01-01 is already named in a.yml:2",
    ]


@pytest.mark.parametrize("depth", [60, 5_000])
def test_deep_or_long_expressions_are_refused(depth: int) -> None:
    assert faults(changed(WHEN, "(" * depth + "arc" + ")" * depth))


def test_the_hash_is_of_the_meaning() -> None:
    def hashed(text: str) -> str:
        return compile_rules({"x.yml": text}).cards[0].hash

    same = "# why\n" + changed("500 mA", "0.5 A").replace("30s", "30000ms")
    assert hashed(same) == hashed(GOOD)
    assert hashed(changed("High", "Higher")) == hashed(GOOD)
    for old, new in (("500", "501"), ("30s", "31s"), ("severity: 2", "severity: 3")):
        assert hashed(changed(old, new)) != hashed(GOOD)
    keys = [
        "missing: unknown after 15m", "missing: raise after 15m", "keep: 1m", "late: fire",
        "late: drop", "flapping: {raises: 4, within: 10m, for: 5m}",
        "flapping: {raises: 5, within: 10m, for: 5m}", "clear_for: 1m", "latched: true",
    ]  # fmt: skip
    assert len({hashed(f"{GOOD}    {key}\n") for key in keys} | {hashed(GOOD)}) == len(keys) + 1
    assert hashed(f"{GOOD}    late: annotate\n    missing: hold\n") == hashed(GOOD)
    assert hashed(LEVELS.replace("warn", "low")) != hashed(LEVELS)


def test_the_hash_is_of_what_a_rule_asks_elsewhere() -> None:
    night = changed("for: 30s", "during: {hours: '22:00-06:00', days: workday}")
    day = "calendar: {2026-05-01: {holiday: x}}"

    def hashed(*files: str) -> str:
        return compile_rules({f"{i}.yml": file for i, file in enumerate(files)}).cards[0].hash

    assert hashed(night) != hashed(GOOD)
    assert hashed(night, day) != hashed(night)
    assert hashed(night, day) == hashed(night, day.replace("x", "another name"))
    assert hashed(GOOD, day) == hashed(GOOD), "it asks for no calendar"
    named = changed("for: 30s", "during: night")
    schedules = "schedules: {night: {days: workday, hours: '22:00-06:00'}}"
    assert hashed(named, schedules) == hashed(night), "the name of a schedule means nothing"
    berlin = schedules.replace("}}", ", zone: Europe/Berlin}}")
    assert hashed(named, berlin) != hashed(night)
    first = changed("for: 30s", "debounce: first 30s")
    assert hashed(first) == hashed(changed("for: 30s", "keep: 30s"))
    steady = changed("for: 30s", "debounce: last 30s")
    assert hashed(steady) == hashed(changed("for: 30s", "for: 30s\n    clear_for: 30s"))


def test_the_hash_of_the_set_follows_texts_but_not_files() -> None:
    one = compile_rules({"a.yml": GOOD})
    assert compile_rules({"b.yml": "# moved\n" + GOOD}).hash == one.hash
    assert compile_rules({"a.yml": changed("High", "Higher")}).hash != one.hash


def test_the_schema_for_editors_agrees() -> None:
    schema = json_schema()
    rule = {
        "id": "efire.high",
        "title": {"zh": "过高", "en": "High"},
        "on": {"family": "efire"},
        "when": WHEN,
        "severity": 2,
    }
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"rules": [rule]}, schema)
    assert tuple(schema["properties"]["rules"]["items"]["properties"]) == KEYS
    levels = yaml.safe_load(LEVELS.replace("on:", "'on':"))["rules"][0]
    flapping = {"raises": 4, "within": "10m", "for": "5m"}
    more = {"flapping": flapping, "keep": "5m", "late": "drop", "missing": "raise after 15m"}
    jsonschema.validate({"rules": [levels | more]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"rules": [levels | {"when": WHEN}]}, schema)
    for wrong in ({"fro": "30s"}, {"for": "x"}, {"severity": 5}, {"late": "x"}, {"keep": 5}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"rules": [rule | wrong]}, schema)
