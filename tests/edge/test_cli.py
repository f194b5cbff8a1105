"""`gridwarden edge run` as a maintainer meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.edge import main, run
from tests.edge.test_settings import GOOD, written
from tests.parts.tools import ROOT

HEAVY = ("typer", "rich", "pydantic", "pydantic_settings", "httpx", "structlog", "fastapi")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("not = [toml", "not TOML", id="not-toml"),
        pytest.param(GOOD, "a.toml: No such file", id="no-recording"),
        pytest.param(GOOD.replace('"replay"', '"modbus"'), "no source is called", id="no-source"),
        pytest.param(
            GOOD.replace("var/outbox.db", "agent.toml/outbox.db").replace(
                '"a.toml"', '"rows.jsonl"'
            ),
            "outbox",
            id="no-folder",
        ),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    assert run(written(tmp_path, text)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert err.startswith("gridwarden edge run: ")


def test_a_missing_config_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", "/nowhere/agent.toml"]) == 2
    assert "/nowhere/agent.toml: No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    assert ended.value.code == 2


def test_the_agent_imports_no_cli_stack() -> None:
    code = (
        "import sys, app.cli.edge, edge.sources.replay, edge.sources.simulate;"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
