"""Every key of the language has its sentence, and what is shown names its source."""

from __future__ import annotations

import pytest

from app.content import read_rule_files, shipped_rules
from rules.effective import effective
from rules.explaining import PARTS, SENTENCES, Language, explained
from rules.schema import KEYS, LEVEL_KEYS
from tests.rules.test_layers import BASE, LEVELS


def test_every_key_has_its_sentence_in_both_languages() -> None:
    assert set(KEYS) <= set(SENTENCES)
    assert set(LEVEL_KEYS) <= set(PARTS)
    for zh, en in (*SENTENCES.values(), *PARTS.values()):
        assert "{value}" in zh
        assert "{value}" in en


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_shipped_rule_can_be_explained(language: Language) -> None:
    for one in effective(read_rule_files(shipped_rules())):
        told = "\n".join(explained(one, language))
        assert one.id in told
        assert "{value}" not in told.replace(one.text("reason"), "")


def test_the_time_line_follows_the_delays() -> None:
    (one,) = effective({"a.yml": BASE})
    told = list(explained(one, "en"))
    assert "It is breached while static_pressure is below 0.07 MPa." in told
    assert "It rings as level Ⅲ (yellow)." in told
    assert told[-4:] == [
        "        0s  the condition begins to hold",
        "       20s  raised, Ⅲ (yellow)",
        "    10m20s  the clearing condition begins to hold",
        "    10m20s  cleared",
    ]


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
