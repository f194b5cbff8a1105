"""Layers of rule folders: shipped, district, street; overrides and the variants they make."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.rulebook import Where
from contracts.where import belongs, fits
from rules import RuleSet, RulesInvalid, compile_rules
from rules.engine import RuleEngine
from rules.expr.check import checked
from rules.lint import lint, misses
from rules.overrides import WrittenOverride
from rules.variants import TooMany, variants_of
from tests.rules.naive import Row
from tests.rules.scene import (
    RUNNERS,
    Device,
    Mark,
    Whole,
    admitted,
    batch_of,
    directory_of,
    row,
    short,
)

BASE = """
rules:
  - id: firewater.low
    title: {zh: 低, en: Low}
    on: {family: firewater}
    when: static_pressure < 0.07 MPa
    for: 20s
    clear: static_pressure > 0.08 MPa
    severity: 3
    missing: unknown after 15m
"""
LEVELS = """
rules:
  - id: efire.high
    title: {zh: 高, en: High}
    on: {family: efire}
    levels:
      - {name: warn, severity: 3, when: residual_current > 300 mA}
      - {name: alarm, severity: 2, when: residual_current > 500 mA}
"""
SAFETY = """
rules:
  - id: smoke.fire
    title: {zh: 火, en: Fire}
    on: {family: smoke}
    when: fire != 0
    severity: 1
    class: safety
    latched: true
"""


def two(base: str, *overrides: str, extends: str = "extends: shipped\n") -> RuleSet:
    listed = "".join(f"  - {one}\n" for one in overrides)
    top = f"{extends}overrides:\n{listed}" if listed else extends
    return compile_rules({"shipped:base.yml": base, "street.yml": top})


def problems(base: str, *overrides: str, **more: str) -> list[str]:
    with pytest.raises(RulesInvalid) as caught:
        two(base, *overrides, **more)
    return [str(finding) for finding in caught.value.findings]


def firewater(*grids: str, **attributes: str) -> list[Device]:
    return [Device("firewater", 0, attributes, grid) for grid in grids]


def steps(values: list[tuple[int, float]], devices: int) -> list[list[Row] | Mark]:
    rows: list[Row | str] = [
        row(at_s + device / 10, value, "static_pressure", device)
        for at_s, value in values
        for device in range(devices)
    ]
    return admitted([*rows, "mark", "end"], [0] * devices)


# Which layers there are


def test_a_street_builds_on_a_district_and_that_on_the_shipped_pack() -> None:
    rules = compile_rules(
        {
            "shipped:base.yml": BASE,
            "../district/o.yml": "extends: shipped\nlayer: 区\noverrides:\n"
            "  - {rule: firewater.low, set: {severity: 2}}\n",
            "o.yml": "extends: ../district\noverrides:\n"
            "  - {rule: firewater.low, set: {for: 5s}}\n",
        }
    )
    (card,) = rules.cards
    assert (card.severity, card.for_ms, card.layer) == (2, 5_000, "local")
    assert card.source == "o.yml:3"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a.yml": "extends: ../b\nrules: []"}, "a.yml:1: extends: no rule file of ../b is there"),
        ({"a.yml": "extends: ..\nrules: []"}, "stand inside one another"),
        ({"a.yml": "extends: sub\nrules: []"}, "stand inside one another"),
        ({"a.yml": "extends: /etc\nrules: []"}, "not a relative path"),
        (
            {
                "a.yml": "extends: ../b",
                "../b/b.yml": "extends: ../c",
                "../c/c.yml": "extends: ../b",
            },
            "../c/c.yml:1: extends: goes round in a circle",
        ),
        (
            {"a.yml": "extends: ../b", "b.yml": "extends: ../c", "../b/b.yml": "rules: []"},
            "b.yml:1: extends: a.yml:1 extends ../b",
        ),
        (
            {"a.yml": "layer: one", "b.yml": "layer: two"},
            "b.yml:1: layer: a.yml:1 calls this layer one",
        ),
        (
            {"shipped:a.yml": BASE, "b.yml": f"extends: shipped\n{BASE}"},
            "firewater.low is already defined in shipped:a.yml:3; mend: change it with overrides",
        ),
    ],
)
def test_what_is_wrong_with_layers_is_said(files: dict[str, str], told: str) -> None:
    with pytest.raises(RulesInvalid) as caught:
        compile_rules(files)
    assert told in str(caught.value)


# What an override may say


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("{rule: firewater.lw, set: {for: 5s}}", "did you mean firewater.low?"),
        ("{rule: firewater.low, set: {fro: 5s}}", "did you mean for?"),
        ("{rule: firewater.low, set: {class: safety}}", "class makes the rule what it is"),
        ("{rule: firewater.low, set: {}}", "sets nothing"),
        ("{rule: firewater.low}", "set is missing"),
        ("{rule: firewater.low, where: {}, set: {for: 5s}}", "names no devices"),
        ("{rule: firewater.low, where: {grid: abc}, set: {for: 5s}}", "'abc' doesn't begin"),
        ("{rule: firewater.low, set: {levels.x.for: 5s}}", "firewater.low has no level x"),
        (
            "{rule: firewater.low, set: {when: static_pressure < 3 mA}}",
            "street.yml:3: overrides[0].set.when: MPa can't be compared with mA (column 17)",
        ),
        (
            "{rule: firewater.low, set: {for: 20m}}",
            "street.yml:3: overrides[0].set: with it, firewater.low is wrong: missing: "
            "missing data would be noticed before the rule can raise",
        ),
    ],
)
def test_what_is_wrong_with_an_override_is_told_of_the_override(override: str, told: str) -> None:
    found = problems(BASE, override)
    assert any(told in one for one in found), found
    assert all(one.startswith("street.yml:3") for one in found)


@pytest.mark.parametrize(
    "said",
    [
        "enabled: false",
        "shadow: true",
        "budget: 1 per grid and day",
        "inhibit: [{by: smoke.fire, on: grid}]",
        "during: {hours: '22:00-06:00'}",
        "debounce: 3 of 5",
        "latched: false",
        "class: ordinary",
    ],
)
def test_no_override_makes_a_safety_rule_quieter(said: str) -> None:
    assert problems(SAFETY, f"{{rule: smoke.fire, set: {{{said}}}}}")


@pytest.mark.parametrize("said", ["for: 10s", "when: fire == 2", "severity: 2"])
def test_less_of_a_safety_rule_needs_a_reason(said: str) -> None:
    where = 'where: {grid: "34"}, '
    plain = two(SAFETY, f"{{rule: smoke.fire, {where}set: {{{said}}}}}")
    why = "why: {zh: 原因, en: Reason}"
    explained = two(SAFETY, f"{{rule: smoke.fire, {where}set: {{{said}}}, {why}}}")
    assert [f for f in lint(plain) if "needs why" in f.problem and f.line == 3]
    assert not [f for f in lint(explained) if "needs why" in f.problem]


def test_more_of_a_safety_rule_needs_none() -> None:
    found = lint(two(SAFETY, "{rule: smoke.fire, set: {when: fire != 0 or fault != 0}}"))
    assert not [f for f in found if "needs why" in f.problem]


GAS = """
rules:
  - id: gas.high
    title: {zh: 高, en: High}
    on: {family: gas}
    when: gas_lel >= 20 %LEL
    clear: gas_lel < 10 %LEL
    clear_for: 60s
    severity: 1
    class: safety
    missing: unknown after 15m
"""
SPREADS = """
rules:
  - id: smoke.spreads
    title: {zh: 蔓延, en: Spreads}
    on: {family: smoke}
    group: building
    when: devices(fire != 0) >= 2
    severity: 1
    class: safety
    latched: true
"""


def less(base: str, *overrides: str) -> list[str]:
    return [f.path for f in lint(two(base, *overrides)) if "needs why" in f.problem]


def test_what_a_layer_below_explained_excuses_no_layer_above_it() -> None:
    district = "{rule: gas.high, set: {for: 10s}, why: {zh: 厨房, en: Kitchens}}"
    street = "{rule: gas.high, where: {grid: '34'}, set: {when: gas_lel >= 90 %LEL, severity: 4}}"
    found = [f for f in lint(two(GAS, district, street)) if "needs why" in f.problem]
    assert {(f.file, f.line, f.path) for f in found} == {
        ("street.yml", 4, "gas.high.when"),
        ("street.yml", 4, "gas.high.severity"),
    }
    again = street.replace("}}", "}, why: {zh: 因, en: Reason}}")
    assert less(GAS, district, again) == []
    assert less(GAS, district, "{rule: gas.high, set: {for: 5s}}") == []  # More than the district.


def test_the_override_that_unlatches_is_named() -> None:
    first = "{rule: smoke.fire, set: {latched: false}}"
    (found,) = problems(SAFETY, first, "{rule: smoke.fire, set: {severity: 1}}")
    assert found.startswith("street.yml:3: overrides[0].set.latched: ")


def test_overrides_that_make_sense_together_only_are_one_step() -> None:
    later = "{rule: gas.high, set: {for: 20m}}"
    longer = "{rule: gas.high, set: {missing: unknown after 1h}, why: {zh: 因, en: Reason}}"
    found = [f for f in lint(two(GAS, later, longer)) if "needs why" in f.problem]
    assert {(f.line, f.path) for f in found} == {(3, "gas.high.for"), (3, "gas.high.missing")}


@pytest.mark.parametrize(
    ("base", "said", "path"),
    [
        (GAS, "{clear: gas_lel < 19.9 %LEL}", "gas.high.clear"),
        (GAS, "{clear_for: 1ms}", "gas.high.clear_for"),
        (GAS, "{missing: hold}", "gas.high.missing"),
        (GAS, "{missing: unknown after 1d}", "gas.high.missing"),
        (GAS, "{when: 'max(gas_lel, 5m) >= 20 %LEL'}", "gas.high.when"),
        (SPREADS, "{when: devices(fire != 0) >= 50}", "smoke.spreads.when"),
        (SPREADS, "{when: devices(fire == 2) >= 2}", "smoke.spreads.when"),
        (SPREADS, "{when: share(fire != 0) >= 0.1}", "smoke.spreads.when"),
        (SPREADS, "{when: all(fire != 0)}", "smoke.spreads.when"),
    ],
)
def test_whatever_makes_a_safety_rule_less_is_found(base: str, said: str, path: str) -> None:
    name = path.rpartition(".")[0]
    assert path in less(base, f"{{rule: {name}, set: {said}}}")
    assert less(base, f"{{rule: {name}, set: {said}, why: {{zh: 因, en: Reason}}}}") == []


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (GAS, "{clear: gas_lel < 5 %LEL}"),
        (GAS, "{missing: unknown after 5m}"),
        (GAS, "{when: gas_lel >= 15 %LEL}"),
        (SPREADS, "{when: devices(fire != 0) >= 1}"),
        (SPREADS, "{when: devices(fire != 0 or tamper != 0) >= 2}"),
        (SPREADS, "{when: devices(fire != 0) >= 2 or share(fire != 0) > 0.5}"),
    ],
)
def test_more_of_it_needs_no_reason(base: str, said: str) -> None:
    name = "gas.high" if base is GAS else "smoke.spreads"
    assert less(base, f"{{rule: {name}, set: {said}}}") == []


@pytest.mark.parametrize(
    ("wide", "narrow", "told"),
    [
        # One device of two is half of them, and not two.
        ("share(fire != 0) >= 0.5", "devices(fire != 0) >= 2", True),
        ("devices(fire != 0) >= 2", "any(fire != 0)", False),
        ("all(fire != 0)", "share(fire != 0) >= 0.9", False),
        ("share(fire != 0) >= 0.9", "all(fire != 0)", True),
        ("devices(fire == 2) >= 3", "devices(fire != 0) >= 3", False),
    ],
)
def test_conditions_of_groups_are_compared(wide: str, narrow: str, told: bool) -> None:
    assert misses(checked(wide), checked(narrow)) is told


def test_windows_of_a_variant_are_told_apart() -> None:
    longest = GAS.replace("gas_lel >= 20 %LEL", "max(gas_lel, 5m) >= 20 %LEL")
    said = "{when: 'min(gas_lel, 5m) >= 20 %LEL'}"
    assert "gas.high.when" in less(longest, f"{{rule: gas.high, set: {said}}}")


def test_inhibitors_of_variants_make_no_ring() -> None:
    base = BASE + BASE.replace("rules:\n", "").replace(".low", ".high")
    both = ("inhibit: [{by: firewater.high, on: grid}]", "inhibit: [{by: firewater.low, on: grid}]")
    found = problems(
        base,
        f"{{rule: firewater.low, where: {{grid: '3'}}, set: {{{both[0]}}}}}",
        f"{{rule: firewater.high, where: {{grid: '4'}}, set: {{{both[1]}}}}}",
    )
    assert "rules keep each other back" in found[0]


# Who meets what

GRIDS = ("340199", "340199001", "340199002", "3401990010")
WHERES = [
    Where((grid,), attributes) for grid in GRIDS for attributes in ((), (("kind", ("old",)),))
] + [Where((), (("kind", ("new", "old")),)), Where(("340199001", "340199002"))]


@given(st.lists(st.sampled_from(WHERES), max_size=5))
def test_each_device_meets_one_variant_that_of_all_that_it_fits(wheres: list[Where]) -> None:
    devices = [
        Device("firewater", 0, {"kind": kind} if kind else {}, grid)
        for grid in ("340199001000001", "340199002000001", "340199001100001", "110000000000001", "")
        for kind in ("old", "new", "")
    ]
    directory = directory_of([*devices, Device("firewater")])
    rows = np.arange(len(directory), dtype=np.int32)
    overrides = [WrittenOverride("a.yml", "o", 1, where=where) for where in wheres]
    try:
        variants = variants_of(overrides)
    except TooMany:
        return
    rules = two(BASE)
    (card,) = rules.cards

    met = [
        belongs(msgspec.structs.replace(card, where=v.where, beside=v.beside), directory, rows)
        for v in variants
    ]
    assert (np.sum(met, axis=0) == 1).all()
    for variant, mine in zip(variants, met, strict=True):
        for where in set(wheres):
            fitting = fits(where, directory, rows)[mine]
            assert (fitting == (where in variant.where)).all()


def test_too_many_variants_are_refused() -> None:
    many = [
        f"{{rule: firewater.low, where: {{a{i}: x}}, set: {{for: {i + 1}s}}}}" for i in range(8)
    ]
    assert "more than 64 variants" in problems(BASE, *many)[0]


def test_of_each_value_the_last_word_counts() -> None:
    rules = two(
        BASE,
        '{rule: firewater.low, where: {grid: "340199"}, set: {severity: 2, for: 10s}}',
        '{rule: firewater.low, where: {grid: "340199001"}, set: {for: 5s}}',
        "{rule: firewater.low, set: {owner: us}}",
    )
    met = {card.variant: (card.severity, card.for_ms, card.owner) for card in rules.cards}
    assert met == {
        "": (3, 20_000, "us"),
        "grid=340199": (2, 10_000, "us"),
        "grid=340199+grid=340199001": (2, 5_000, "us"),
    }


@pytest.mark.parametrize("runner", RUNNERS)
def test_two_streets_are_judged_by_their_own_limits(runner: type[Whole]) -> None:
    rules = two(
        BASE,
        '{rule: firewater.low, where: {grid: "340199001"}, '
        "set: {when: static_pressure < 0.09 MPa, clear: static_pressure > 0.1 MPa, severity: 2}}",
        '{rule: firewater.low, where: {grid: "340199003"}, set: {enabled: false}}',
    )
    grids = ("340199001000001", "340199002000001", "340199003000001")
    directory = directory_of([*firewater(*grids), Device("firewater")])
    values = [(t, 0.085) for t in range(0, 60, 10)] + [(t, 0.05) for t in range(60, 120, 10)]
    told = runner(rules, directory).run(steps(values, 4)[:-1])
    cards = rules.cards
    found = {(t.device, cards[t.rule].variant, cards[t.rule].severity, t.threshold) for t in told}
    assert found == {
        (0, "grid=340199001", 2, 0.09),
        (1, "", 3, 0.07),
        (3, "", 3, 0.07),
    }
    assert short([t for t in told if t.device == 0]) == [(20, "raised")]


def test_levels_of_a_variant_are_one_alert() -> None:
    rules = two(
        LEVELS,
        '{rule: efire.high, where: {grid: "1"}, '
        "set: {levels.warn.when: residual_current > 100 mA}}",
        '{rule: efire.high, where: {grid: "2"}, set: {levels: {alarm: {severity: 1}}}}',
    )
    directory = directory_of([Device("efire", 0, {}, grid) for grid in ("100", "200", "300")])
    rows: list[Row | str] = [
        row(at_s, value, device=device)
        for at_s, value in ((0, 200), (10, 600), (20, 0))
        for device in range(3)
    ]
    told = Whole(rules, directory).run(admitted([*rows, "end"], [0, 0, 0]))
    seen = [(t.device, name, t.severity) for t, (_, name) in zip(told, short(told), strict=True)]
    assert sorted(seen[:1] + seen[1:]) == sorted(
        [
            (0, "raised", 3),
            (0, "level", 2),
            (0, "cleared", 2),
            (1, "raised", 1),
            (1, "cleared", 1),
            (2, "raised", 2),
            (2, "cleared", 2),
        ]
    )


# What the hash covers, and what becomes of state


def test_the_hash_is_that_of_what_decides_for_the_device() -> None:
    where = 'where: {grid: "34"}, '
    (plain,) = two(BASE).cards
    rules = two(BASE, f"{{rule: firewater.low, {where}set: {{for: 5s}}}}")
    base, variant = rules.cards
    assert base.hash == plain.hash != variant.hash
    assert rules.hash != two(BASE).hash
    moved = two(BASE, '{rule: firewater.low, where: {grid: "35"}, set: {for: 5s}}')
    assert moved.cards[1].hash == variant.hash
    assert moved.hash != rules.hash


@pytest.mark.parametrize("back", [False, True])
def test_an_alert_goes_on_when_its_device_meets_another_variant(back: bool) -> None:
    plain = two(BASE)
    special = two(
        BASE,
        '{rule: firewater.low, where: {grid: "340199001"}, '
        "set: {clear: static_pressure > 0.1 MPa}}",
    )
    old, new = (special, plain) if back else (plain, special)
    directory = directory_of(firewater("340199001000001", "340199002000001"))
    before = Whole(old, directory)
    raised = before.run(steps([(t, 0.05) for t in range(0, 60, 10)], 2)[:-1])
    assert [name for _, name in short(raised)] == ["raised", "raised"]
    after = Whole(new, directory)
    after.engine.restore(before.engine.snapshot())
    outcomes = {one.rule: one.outcome for one in after.engine.carried}
    assert outcomes == {
        "firewater.low": "kept",
        "firewater.low@grid=340199001": "migrated",
    }
    ended = after.run(steps([(t, 0.09) for t in range(60, 80, 10)], 2)[:-1])
    cleared = {
        t.device for t, (_, name) in zip(ended, short(ended), strict=True) if name == "cleared"
    }
    assert cleared == ({0, 1} if back else {1})


def test_reset_reaches_the_variant_that_the_device_meets() -> None:
    rules = two(SAFETY, '{rule: smoke.fire, where: {grid: "34"}, set: {severity: 1, owner: us}}')
    directory = directory_of([Device("smoke", 0, {}, "34"), Device("smoke", 0, {}, "35")])
    engine = RuleEngine(rules, directory)
    fire = [
        Row(d, r.quantity, r.ts, 1, 0, 0, 1, 0)
        for d, r in enumerate(itertools.repeat(row(0, 1, "fire"), 2))
    ]
    assert len(engine.on_rows(batch_of(fire))) == 2
    for device in (0, 1):
        engine.reset(0, device)
    again = [Row(r.device, r.quantity, r.ts + 1_000, 1, 0, 0, 2, 0) for r in fire]
    assert len(engine.on_rows(batch_of(again))) == 2


def test_a_group_rule_changes_by_grid_only() -> None:
    base = SAFETY.replace("when: fire != 0", "group: building\n    when: devices(fire != 0) >= 2")
    found = problems(base, "{rule: smoke.fire, where: {kind: old}, set: {when: any(fire != 0)}}")
    assert "changes for whole groups only" in found[0]
    assert two(base, '{rule: smoke.fire, where: {grid: "34"}, set: {when: any(fire != 0)}}')
