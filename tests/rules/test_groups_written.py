"""Group rules as they are written: what is refused, what is advised, what their hash says."""

from __future__ import annotations

import pytest

from rules import RulesInvalid, compile_rules
from rules.lint import lint
from rules.placeless import placeless
from tests.rules.scene import Device, directory_of

GOOD = """\
rules:
  - id: efire.many
    title: {zh: 多处, en: Many}
    on: {family: efire}
    group: building
    when: devices(residual_current >= 500 mA) >= 2
    severity: 2
    standard: proposal
    reason: {zh: 因, en: why}
    runbook: {zh: 做, en: do}
"""
WHEN = "devices(residual_current >= 500 mA) >= 2"


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "line", "problem", "mend"),
    [
        pytest.param(changed("building", "bilding"), 5, "unknown group", "building?", id="kind"),
        pytest.param(changed("    group: building\n", ""), 5, "of a group", "group:",
                     id="no-group"),
        pytest.param(changed(WHEN, "residual_current >= 500 mA"), 6, "asks of one device",
                     "devices(", id="no-count"),
        pytest.param(changed(WHEN, f"{WHEN} and zone == 'a'"), 6, "asks of one device", "devices(",
                     id="attribute-outside"),
        pytest.param(changed(WHEN, "devices(any(arc != 0)) >= 2"), 6, "inside another", "once",
                     id="nested"),
        pytest.param(changed(WHEN, "devices(absent(1h)) >= 2"), 6, "absent", "its own",
                     id="absent"),
        pytest.param(changed(WHEN, "devices(zone == 'a') >= 2"), 6, "without looking", "quantity",
                     id="no-reading"),
        pytest.param(changed(WHEN, "devices(arc != 0) + 1 > 2"), 6, "computes", "compare",
                     id="sum"),
        pytest.param(changed(WHEN, "devices(arc != 0)"), 6, "is a number", ">= 2", id="bare-count"),
        pytest.param(changed(WHEN, "share(arc != 0)"), 6, "is a number", ">= 0.5", id="bare-share"),
        pytest.param(changed(WHEN, "devices(arc) >= 2"), 6, "arc is a number", "arc == 1",
                     id="no-condition"),
        pytest.param(changed(WHEN, "devices(arc != 0, 2) > 1"), 6, "takes one", "fire != 0",
                     id="two-arguments"),
        pytest.param(changed(WHEN, "any() and all(arc != 0)"), 6, "takes one", "any(", id="none"),
        pytest.param(changed(WHEN, "share(arc != 0) > 50"), 6, "from 0 to 1", "0.5", id="percent"),
        pytest.param(changed(WHEN, "devices(arc != 0) >= 2 mA"), 6, "can't be compared", "",
                     id="unit"),
        pytest.param(changed(WHEN, "devices(static_pressure < 1 MPa) > 1"), 6,
                     "no static_pressure", "firewater", id="family"),
        pytest.param(changed("    severity", "    clear: residual_current < 1 mA\n    severity"), 7,
                     "asks of one device", "devices(", id="clear"),
    ],
)  # fmt: skip
def test_refused(text: str, line: int, problem: str, mend: str) -> None:
    with pytest.raises(RulesInvalid) as refused:
        compile_rules({"a.yml": text})

    found = [(f.line, f.problem, f.mend) for f in refused.value.findings]
    assert [f[0] for f in found] == [line]
    assert problem in found[0][1]
    assert mend in found[0][2]


def test_a_safety_group_may_not_hang_on_an_attribute() -> None:
    text = changed(WHEN, "any(arc != 0 and zone == 'a')").replace(
        "severity", "class: safety\n    severity"
    )
    with pytest.raises(RulesInvalid, match="attribute"):
        compile_rules({"a.yml": text})


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        pytest.param("severity", "severity", [], id="good"),
        pytest.param(WHEN, "devices(arc != 0) < 0", ["when: no value can ever fit"], id="never"),
        pytest.param(WHEN, "devices(arc != 0) >= 0", ["when: every value fits"], id="always"),
        pytest.param(WHEN, f"{WHEN}\n    clear: devices(residual_current >= 500 mA) < 3",
                     ["clear: some values both raise and clear"], id="overlap"),
        pytest.param(WHEN, f"{WHEN}\n    clear: share(residual_current >= 500 mA) < 0",
                     ["clear: no value can ever fit"], id="never-clears"),
        pytest.param(WHEN, f"{WHEN}\n    clear: all(residual_current < 400 mA)", [],
                     id="all-clear"),
        pytest.param(WHEN, "share(arc != 0) > 0.5", [], id="share"),
        pytest.param(WHEN, "devices(arc == 1) >= 2", ["when: of arc anything but 0"], id="signal"),
    ],
)  # fmt: skip
def test_advised(old: str, new: str, want: list[str]) -> None:
    found = [
        f"{finding.path.removeprefix('efire.many.')}: {finding.problem}"
        for finding in lint(compile_rules({"a.yml": changed(old, new)}))
        if finding.path != "efire.many.class"
    ]
    assert len(found) == len(want)
    assert all(text.startswith(start) for text, start in zip(found, want, strict=True))


def test_devices_without_a_place_are_counted() -> None:
    placed = Device("efire", 0, {"building": "1"}, "340199001001001")
    lost = [Device("efire", 0, {}, "340199001001001"), Device("efire", 0, {"building": "1"})]
    registry = directory_of([placed, *lost]).registry

    (found,) = placeless(compile_rules({"a.yml": GOOD}), registry)

    assert (found.file, found.line, found.path) == ("a.yml", 2, "efire.many.group")
    assert found.problem == "2 of the devices that it watches belong to no building"
    assert "grid and building" in found.mend


def test_the_hash_says_which_group_and_what_is_counted() -> None:
    texts = [
        GOOD,
        changed("building", "unit"),
        changed(">= 2", ">= 3"),
        changed("500 mA", "400 mA"),
        changed(WHEN, "share(residual_current >= 500 mA) >= 0.2"),
        changed(WHEN, "all(residual_current >= 500 mA)"),
    ]
    cards = [compile_rules({"a.yml": text}).cards[0] for text in texts]

    assert len({card.hash for card in cards}) == len(texts)
    assert cards[0].condition_text == WHEN
    assert (cards[0].timed, cards[0].unit) == (True, "1")
