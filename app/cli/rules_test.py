"""`gridwarden rules test DIR`: the tests beside rule files, through the one engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import FINDINGS, fail
from app.content import ContentError
from app.runners.rulesuite import Result, Suite, load_suite, run_suite
from app.runners.ruletest_dump import keep as keep_log
from rules import RulesInvalid


def command(
    place: Annotated[
        Path, typer.Argument(metavar="DIR", help="folder of rules and tests, or one *.test.yml")
    ],
    rule: Annotated[str, typer.Option(help="only the tests that touch this rule")] = "",
    keep: Annotated[
        Path | None, typer.Option(help="write each test's log there, for `gridwarden replay`")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Run *.test.yml: series, faults, and the alerts expected / 运行规则测试.

    Exit status: 0 fine, 1 a test failed or a limit was missed, 2 a file can't be read.
    """
    suite = _load(place, rule)
    results = list(run_suite(suite, _progress(as_json)))
    if keep is not None:
        _keep(keep, suite, results)
    failed = [result for result in results if not result.passed]
    if as_json:
        print(json.dumps(_document(suite, results), ensure_ascii=False, indent=2))
    else:
        for result in failed:
            _print_failed(suite, result)
        print(f"{place}: {len(results)} tests, {len(failed)} failed")
    raise typer.Exit(FINDINGS if failed else 0)


def _load(place: Path, rule: str) -> Suite:
    try:
        return load_suite(place, rule)
    except RulesInvalid as error:
        fail("\n".join(str(finding) for finding in error.findings))
    except (ContentError, OSError) as error:
        fail(str(error))
    except UnicodeDecodeError as error:
        fail(f"{place}: a file is no UTF-8 text: {error.reason} at byte {error.start}")


def _keep(out: Path, suite: Suite, results: list[Result]) -> None:
    try:
        for result in results:
            keep_log(out, suite.folder, result.case, result.played)
    except OSError as error:
        fail(f"--keep {out}: {error.strerror}; name a folder that can be written")


def _progress(quiet: bool) -> Any:
    """Says how far it is, on a terminal only."""
    shown = sys.stderr.isatty() and not quiet

    def say(what: str, done: int, of: int) -> None:
        if shown:
            end = "\r" if done < of else "\r\x1b[K"
            print(f"{what}: {done} of {of}\x1b[K", end=end, file=sys.stderr, flush=True)

    return say


def _print_failed(suite: Suite, result: Result) -> None:
    case = result.case
    print(f"FAILED {suite.folder / case.file}:{case.line}: {case.name}")
    for line in result.problems:
        print(f"  {line}")
    print()


def _document(suite: Suite, results: list[Result]) -> dict[str, Any]:
    return {
        "folder": str(suite.folder),
        "tests": len(results),
        "failed": sum(not result.passed for result in results),
        "results": [
            {
                "file": result.case.file,
                "line": result.case.line,
                "name": result.case.name,
                "passed": result.passed,
                "problems": list(result.problems),
            }
            for result in results
        ],
    }
