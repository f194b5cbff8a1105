"""The figures in docs/performance.md are those of benchmarks/results, not of an older run."""

from __future__ import annotations

import json
import re

from tests.parts.tools import ROOT

ROW = re.compile(r"^\| `(?P<bench>\w+)\.(?P<figure>\w+)` \| (?P<value>[-+0-9.e]+) \|", re.MULTILINE)


def test_each_figure_is_the_recorded_one() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = list(ROW.finditer(text))
    assert len(rows) > 20
    for row in rows:
        path = ROOT / "benchmarks" / "results" / f"{row['bench']}.json"
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
        assert row["value"] == f"{figures[row['figure']]:.4g}", row[0]
