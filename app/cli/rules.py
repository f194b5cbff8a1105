"""`gridwarden rules check DIR`: rule files, with file, line and mend for every finding."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.cli import rules_backtest, rules_reload, rules_show, rules_test
from app.cli.outcome import FINDINGS, fail
from app.content import ContentError, file_of, read_rule_files
from contracts.quantities import FAMILY_INDEX
from contracts.registry import Registry
from ingest.registry import RegistryError
from ingest.registry import load as load_registry
from rules import Finding, RuleSet, RulesInvalid, compile_rules
from rules.layers import SHIPPED_PREFIX
from rules.lint import lint
from rules.lint_layers import unmet
from rules.lint_ranges import sensor_findings
from rules.lint_registry import valueless
from rules.placeless import placeless

app = typer.Typer(help="Alert rules / 告警规则.", no_args_is_help=True, add_completion=False)


@app.callback()
def rules() -> None:
    """Alert rules / 告警规则."""


app.command("show")(rules_show.show)
app.command("explain")(rules_show.explain)
app.command("test")(rules_test.command)
app.command("backtest")(rules_backtest.command)
app.command("reload")(rules_reload.command)


@app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="holds *.yml rule files")],
    registry: Annotated[
        Path | None, typer.Option(help="folder of a registry: check attributes and values too")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Check keys, expressions, units, limits and texts / 检查字段、表达式、单位、限值和文本.

    Exit status: 0 fine, 1 findings, 2 the folder can't be read.
    """
    try:
        files = read_rule_files(folder)
        known = None if registry is None else load_registry(registry)
    except (ContentError, RegistryError, OSError) as error:
        fail(str(error))
    rules, findings, remarks = _checked(files, known)
    findings, remarks = (
        [replace(one, file=str(file_of(folder, one.file))) for one in some]
        for some in (findings, remarks)
    )
    if as_json:
        _print_json(folder, rules, findings, remarks)
    else:
        if remarks:
            typer.echo(
                f"{len(remarks)} values that shipped rules ask for are at no device of this "
                "registry; no finding, --json names them"
            )
        for finding in findings:
            typer.echo(str(finding))
        typer.echo(f"{folder}: {rules} rules, {len(findings)} findings")
    raise typer.Exit(FINDINGS if findings else 0)


def _attributes(registry: Registry) -> dict[str, frozenset[str]]:
    columns = registry.devices.attributes
    return {name: frozenset(column.values) for name, column in columns.items()}


def _checked(
    files: dict[str, str], registry: Registry | None
) -> tuple[int, list[Finding], list[Finding]]:
    """How many rules can run, what is found, and what a town may well lack."""
    try:
        ruleset = compile_rules(files)
    except RulesInvalid as error:
        return 0, list(error.findings), []
    today = datetime.fromtimestamp(time.time(), UTC).date()
    if registry is None:
        return len(ruleset.ids), lint(ruleset, today=today), []
    found = lint(ruleset, _attributes(registry), today)
    remarks = [one for one in found if _is_elsewhere(one, ruleset, registry)]
    findings = sorted(
        [
            *(one for one in found if one not in remarks),
            *placeless(ruleset, registry),
            *valueless(ruleset, registry),
            *sensor_findings(ruleset, registry),
            *unmet(ruleset, registry),
        ]
    )
    return len(ruleset.ids), findings, remarks


def _is_elsewhere(finding: Finding, ruleset: RuleSet, registry: Registry) -> bool:
    """Whether a rule of the pack asks for what other towns have. An attribute that no device has,
    where there are devices of the rule's family, is a finding: the registry lacks its column."""
    rule, _, attribute = finding.path.partition(".on.")
    if not attribute or not finding.file.startswith(SHIPPED_PREFIX):
        return False
    family = next(row.card.family for row in ruleset.rules if row.id == rule)
    present = bool((registry.devices.family == FAMILY_INDEX[family]).any())
    return attribute in registry.devices.attributes or not present


def _print_json(folder: Path, rules: int, findings: list[Finding], remarks: list[Finding]) -> None:
    document = {
        "folder": str(folder),
        "rules": rules,
        "findings": [asdict(one) for one in findings],
        "remarks": [asdict(one) for one in remarks],
    }
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
