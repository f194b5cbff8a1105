"""`gridwarden rules test DIR`: the tests beside rule files, through the one engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import FINDINGS, fail
from app.content import ContentError
from app.runners.rulemutation import Mutated, coverage, mutate
from app.runners.rulesuite import Progress, Result, Suite, load_suite, run_suite
from app.runners.ruletest_dump import keep as keep_log
from rules import RulesInvalid
from rules.testing.coverage import Coverage
from rules.testing.junit import Line, junit


def command(
    place: Annotated[
        Path, typer.Argument(metavar="DIR", help="folder of rules and tests, or one *.test.yml")
    ],
    rule: Annotated[str, typer.Option(help="only the tests that touch this rule")] = "",
    show_coverage: Annotated[
        bool, typer.Option("--coverage", help="say which ways of each rule the tests go")
    ] = False,
    min_coverage: Annotated[
        float | None,
        typer.Option(min=0, max=100, metavar="PERCENT", help="fail when less is covered"),
    ] = None,
    with_mutants: Annotated[
        bool, typer.Option("--mutate", help="move each limit and delay: does any test notice?")
    ] = False,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="write JUnit XML")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="write each test's log there, for `gridwarden replay`")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Run *.test.yml: series, faults, and the alerts expected / 运行规则测试.

    Exit status: 0 fine, 1 a test failed, a change went unnoticed or too little is covered,
    2 a file can't be read.
    """
    progress = _progress(as_json)
    suite = _load(place, rule)
    results = list(run_suite(suite, progress))
    _write(junit_file, keep, suite, results)
    failed = [result for result in results if not result.passed]
    wanted = show_coverage or min_coverage is not None
    covered = coverage(suite, results, progress) if wanted else None
    mutated = mutate(suite, results, progress) if with_mutants else None
    if as_json:
        print(json.dumps(_document(suite, results, covered, mutated), ensure_ascii=False, indent=2))
    else:
        for result in failed:
            _print_failed(suite, result)
        print(f"{place}: {len(results)} tests, {len(failed)} failed")
        if covered is not None:
            _print_coverage(covered)
        if mutated is not None:
            _print_mutated(suite, mutated)
    short = covered is not None and covered.percent < (min_coverage or 0)
    if short and covered is not None:
        print(f"covered: {covered.percent:.1f} %, wanted: {min_coverage:g} %", file=sys.stderr)
    missed = short or (mutated is not None and bool(mutated.survivors))
    raise typer.Exit(FINDINGS if failed or missed else 0)


def _load(place: Path, rule: str) -> Suite:
    try:
        return load_suite(place, rule)
    except RulesInvalid as error:
        fail("\n".join(str(finding) for finding in error.findings))
    except (ContentError, OSError) as error:
        fail(str(error))


def _write(junit_file: Path | None, keep: Path | None, suite: Suite, results: list[Result]) -> None:
    option = "--junit"
    path = junit_file
    try:
        if junit_file is not None:
            lines = [Line(r.case.file, r.case.line, r.case.name, r.problems) for r in results]
            junit_file.write_bytes(junit(lines))
        if keep is not None:
            option, path = "--keep", keep
            for result in results:
                keep_log(keep, suite.folder, result.case, result.played)
    except OSError as error:
        fail(f"{option} {path}: {error.strerror}; name one that can be written")


def _progress(quiet: bool) -> Progress:
    """Says how far it is, on a terminal only."""
    shown = sys.stderr.isatty() and not quiet

    def say(what: str, done: int, of: int) -> None:
        if shown:
            line = f"{what}: {done} of {of}" if done < of else ""
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)

    return say


def _print_failed(suite: Suite, result: Result) -> None:
    case = result.case
    print(f"FAILED {suite.folder / case.file}:{case.line}: {case.name}")
    for line in result.problems:
        print(f"  {line}")
    print()


def _print_coverage(found: Coverage) -> None:
    print(f"coverage: {found.covered} of {found.total} ways, {found.percent:.1f} %")
    untested = found.untested()
    for rule, branches in found.branches.items():
        if rule not in untested:
            told = ", ".join(f"{one.name} {len(one.tests) or 'UNTESTED'}" for one in branches)
            print(f"  {rule}: {told}")
    if untested:
        print(f"rules without a test: {', '.join(untested)}")


def _print_mutated(suite: Suite, found: Mutated) -> None:
    print(f"mutation: {found.tried} changes tried, {len(found.survivors)} noticed by no test")
    for one in found.survivors:
        print(f"  {suite.folder / one.file}:{one.line}: {one.rule}: {one.where}: {one.what}")
        print(f"    {one.advice}")
    if found.untested:
        print(f"rules without a passing test, not changed: {', '.join(found.untested)}")


def _document(
    suite: Suite, results: Sequence[Result], covered: Coverage | None, mutated: Mutated | None
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "folder": str(suite.folder),
        "tests": len(results),
        "failed": sum(not result.passed for result in results),
        "results": [
            {
                "file": result.case.file,
                "line": result.case.line,
                "name": result.case.name,
                "passed": result.passed,
                "readings": result.played.readings,
                "problems": list(result.problems),
            }
            for result in results
        ],
    }
    if covered is not None:
        document["coverage"] = {
            "percent": round(covered.percent, 2),
            "rules": {
                rule: {one.name: list(one.tests) for one in branches}
                for rule, branches in covered.branches.items()
            },
            "untested": covered.untested(),
        }
    if mutated is not None:
        document["mutation"] = {
            "tried": mutated.tried,
            "killed": mutated.killed,
            "survivors": [
                {
                    "rule": one.rule,
                    "file": one.file,
                    "line": one.line,
                    "where": one.where,
                    "what": one.what,
                    "advice": one.advice,
                }
                for one in mutated.survivors
            ],
            "untested": mutated.untested,
        }
    return document
