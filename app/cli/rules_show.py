"""`gridwarden rules show` and `rules explain`: what rules come to, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import fail
from app.content import ContentError, file_of, read_rule_files
from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILIES
from contracts.transitions import Episode
from ingest.registry import RegistryError
from ingest.registry import load as load_registry
from rules import RuleSet, RulesInvalid, compile_rules
from rules.derived.columns import MOST
from rules.effective import Effective, effective
from rules.explaining import explained
from rules.expr.plan import bases_of
from rules.finding import suggest
from rules.instances import State
from rules.members import NOT_WATCHED, Members
from rules.watching import why_not

SLOT_BYTES = 4
READING_BYTES = 32
"""Of one reading in a window, at most: its time, its value and what is summed up beside it."""


class Language(StrEnum):
    zh = "zh"
    en = "en"


def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="holds *.yml rule files")],
    rule: Annotated[str, typer.Argument(help="the id of one rule")] = "",
    why: Annotated[bool, typer.Option("--why", help="where each value comes from")] = False,
    device: Annotated[str, typer.Option(help="what holds for this device")] = "",
    registry: Annotated[Path | None, typer.Option(help="folder of its registry")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Show what rules come to: values, sources, variants, cost / 显示规则的实际取值与来源."""
    files, ruleset = _read(folder)
    shown = _chosen(effective(files), rule)
    unmet: dict[str, str] = {}
    if device:
        shown, unmet = _of_device(shown, ruleset, device, registry)
    documents = [_document(folder, one, ruleset) for one in shown]
    if as_json:
        refused = [{"rule": name, "why_not": reason} for name, reason in unmet.items()]
        typer.echo(json.dumps([*documents, *refused], ensure_ascii=False, indent=2))
        return
    for document in documents:
        for line in _lines(document, why=why or bool(device)):
            typer.echo(line)
    for name, reason in unmet.items():
        typer.echo(f"{name} doesn't watch {device}: {reason}")


def explain(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="holds *.yml rule files")],
    rule: Annotated[str, typer.Argument(help="the id of the rule")],
    lang: Annotated[Language, typer.Option(help="zh or en")] = Language.en,
) -> None:
    """Say in plain sentences what a rule does / 用通俗的话说明一条规则."""
    files, ruleset = _read(folder)
    for one in _chosen(effective(files), rule):
        if one.variant:
            typer.echo(f"\n{one.variant}")
        rows = [row for row in ruleset.rules if row.card.name == one.name]
        for line in explained(one, rows, lang.value):
            typer.echo(line)


def _read(folder: Path) -> tuple[dict[str, str], RuleSet]:
    try:
        files = read_rule_files(folder)
        return files, compile_rules(files)
    except (ContentError, OSError) as error:
        fail(str(error))
    except RulesInvalid as error:
        told = (replace(one, file=str(file_of(folder, one.file))) for one in error.findings)
        fail("\n".join(map(str, told)))


def _chosen(known: tuple[Effective, ...], rule: str) -> list[Effective]:
    found = [one for one in known if rule in ("", one.id)]
    if not found:
        fail(f"no rule {rule}; {suggest(rule, {one.id for one in known})}")
    return found


def _of_device(
    shown: list[Effective], ruleset: RuleSet, device: str, registry: Path | None
) -> tuple[list[Effective], dict[str, str]]:
    """The variants that the device meets; and why not, of rules that don't watch it. Rules of
    other families are told of only when there is but one to show."""
    if registry is None:
        fail("--device: name its registry with --registry DIR")
    try:
        directory = DeviceDirectory(load_registry(registry))
    except (RegistryError, OSError) as error:
        fail(str(error))
    row = directory.row_of.get(device)
    if row is None:
        fail(f"--device {device}: not in {registry}")
    members = Members(ruleset, directory)
    rank = members.rank[row]
    met = {
        rule.card.name
        for number, rule in enumerate(ruleset.rules)
        if rule.card.family == FAMILIES[int(directory.family[row])]
        and members.slots(Episode.LIVE, number)[rank] != NOT_WATCHED
    }
    unmet = {}
    for name in dict.fromkeys(one.id for one in shown):
        rows = [one for one in ruleset.rules if one.id == name]
        about = not rows or rows[0].card.family == FAMILIES[int(directory.family[row])]
        if not {one.card.name for one in rows} & met and (
            about or len({one.id for one in shown}) == 1
        ):
            unmet[name] = "; ".join(why_not(rows, directory, row))
    return [one for one in shown if one.name in met], unmet


def _document(folder: Path, one: Effective, ruleset: RuleSet) -> dict[str, Any]:
    values = [
        {
            "key": value.key,
            "value": value.text,
            "source": f"{file_of(folder, value.file)}:{value.line}",
            "layer": value.layer,
            "why": {"zh": value.why.zh, "en": value.why.en},
        }
        for value in one.values
    ]
    cost = _cost(one, ruleset)
    return {"rule": one.id, "variant": one.variant, "values": values, "cost": cost}


def _cost(one: Effective, ruleset: RuleSet) -> dict[str, Any]:
    """Upper bounds by the sizes of columns; what time it takes isn't known here."""
    rows = [rule for rule in ruleset.rules if rule.card.name == one.name]
    asked = {q for row in rows for q in (*bases_of(row.when), *bases_of(row.clear or row.when))}
    windows = {r.name for row in rows for r in row.readings if r.derived is not None}
    alone = {row.quantities for row in rows if len(row.quantities) == 1}
    family = rows[0].card.family if rows else ""
    shares = {
        rule.id
        for rule in ruleset.rules
        if rule.card.family == family and rule.quantities in alone and rule.id != one.id
    }
    return {
        "machine_rows": len(rows),
        "bytes_per_device_of_family": len(rows) * SLOT_BYTES * 2,
        "bytes_per_active_instance": State.BYTES,
        "windows": len(windows),
        "window_bytes_per_device_at_most": len(windows) * MOST * READING_BYTES,
        "quantities": len(asked),
        "shares_scan_with": sorted(shares),
    }


def _lines(document: dict[str, Any], *, why: bool) -> Iterator[str]:
    variant = f"  for {document['variant']}" if document["variant"] else ""
    yield f"{document['rule']}{variant}"
    for value in document["values"]:
        yield f"  {value['key']}: {value['value']}"
        if why:
            yield f"      {value['source']}  ({value['layer']})"
            if value["why"]["zh"]:
                yield f"      {value['why']['zh']} / {value['why']['en']}"
    cost = document["cost"]
    yield (
        f"  cost: {cost['machine_rows']} machine rows over {cost['quantities']} quantities, "
        f"{cost['bytes_per_device_of_family']} bytes a device of its family at most, "
        f"{cost['bytes_per_active_instance']} more while active"
    )
    if cost["windows"]:
        most = cost["window_bytes_per_device_at_most"]
        yield f"        {cost['windows']} windows and the like, {most} bytes a device at most"
    if cost["shares_scan_with"]:
        yield f"        shares its look at readings with {', '.join(cost['shares_scan_with'])}"
    yield ""
