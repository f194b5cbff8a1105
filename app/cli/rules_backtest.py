"""`gridwarden rules backtest`: what a change of rules would have done to recorded history."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from app.cli.outcome import FINDINGS, fail
from app.cli.zone import zone_named
from app.runners.backtest import BacktestError, Past, backtest
from rules.backtest import Comparison, Episode, compare, picture
from rules.zones import DEFAULT_ZONE, Zone

DAY_MS = 86_400_000
SHOWN = 20


def command(
    old: Annotated[Path, typer.Option(help="folder of the rules in force")],
    new: Annotated[Path, typer.Option(help="folder of the changed rules")],
    source: Annotated[
        Path,
        typer.Option(
            "--input", help="JSON lines, a folder of packs, a dumped log, or a folder of dumps"
        ),
    ],
    registry: Annotated[
        Path | None, typer.Option(help="folder of the registry; a dump brings its own")
    ] = None,
    max_added: Annotated[int | None, typer.Option(min=0, help="more added alerts: exit 1")] = None,
    max_lost: Annotated[int | None, typer.Option(min=0, help="more lost alerts: exit 1")] = None,
    max_moved: Annotated[int | None, typer.Option(min=0, help="more moved alerts: exit 1")] = None,
    accept_lost_safety: Annotated[
        bool, typer.Option(help="a lost alert of a safety rule is no finding")
    ] = False,
    svg: Annotated[Path | None, typer.Option(help="write a timeline of what changed")] = None,
    out: Annotated[
        Path | None, typer.Option(help="write every alert with its verdict as JSON lines")
    ] = None,
    zone: Annotated[
        str, typer.Option(help="time zone of the times shown, that of the rules by default")
    ] = DEFAULT_ZONE,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Alerts added, lost and moved by a change / 规则改动会增加、丢失、变动哪些告警.

    Exit status: 0 within the limits, 1 past one, or an alert of a safety rule is lost; 2
    unreadable input.
    """
    local = zone_named(zone)
    try:
        before, after = backtest(source, old, new, registry, on_progress=_Progress().show)
    except BacktestError as error:
        fail(str(error))
    found = compare(before.episodes, after.episodes)
    problems = _problems(
        found,
        {"added": max_added, "lost": max_lost, "moved": max_moved},
        accept_lost_safety=accept_lost_safety,
    )
    title = f"{old} → {new} · {source.name}"
    try:
        if svg is not None:
            svg.write_text(
                picture(found, title=title, span_ms=before.span_ms, local=local), encoding="utf-8"
            )
        if out is not None:
            out.write_bytes(b"".join(line + b"\n" for line in _lines(found)))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}; name a file that can be written")
    if as_json:
        print(msgspec.json.encode(_document(found, before, after, problems)).decode())
    else:
        _show(Console(), found, before, after, problems, local)
    raise typer.Exit(FINDINGS if problems else 0)


class _Progress:
    """A line on a terminal while the recording runs."""

    def __init__(self) -> None:
        self._done = [0, 0]

    def show(self, side: int, readings: int) -> None:
        self._done[side] = readings
        if sys.stderr.isatty():
            told = " · ".join(f"{done / 1e6:.0f} M" for done in self._done)
            print(f"\rreadings, old · new: {told}", end="\r", file=sys.stderr, flush=True)


def _problems(
    found: Comparison, limits: dict[str, int | None], *, accept_lost_safety: bool
) -> list[str]:
    counts = {"added": found.added, "lost": found.lost, "moved": found.moved}
    problems = [
        f"{len(counts[name])} alerts {name}, the limit is {limit}"
        for name, limit in limits.items()
        if limit is not None and len(counts[name]) > limit
    ]
    safety = found.lost_safety()
    if safety and not accept_lost_safety:
        rules = ", ".join(sorted({episode.rule for episode in safety}))
        problems.append(f"{len(safety)} alerts of safety rules are lost: {rules}")
    return problems


def _lines(found: Comparison) -> list[bytes]:
    def line(verdict: str, old: Episode | None, new: Episode | None, why: tuple[str, ...]) -> bytes:
        return msgspec.json.encode({"verdict": verdict, "why": why, "old": old, "new": new})

    return [
        *(line("lost", one, None, ()) for one in found.lost),
        *(line("added", None, one, ()) for one in found.added),
        *(line("moved", one.old, one.new, one.why) for one in found.moved),
        *(line("same", one, one, ()) for one in found.same),
    ]


def _document(found: Comparison, before: Past, after: Past, problems: list[str]) -> dict[str, Any]:
    return {
        "readings": before.readings,
        "span_ms": before.span_ms,
        "old": _load(before),
        "new": _load(after),
        "same": len(found.same),
        "moved": len(found.moved),
        "added": len(found.added),
        "lost": len(found.lost),
        "lost_safety": len(found.lost_safety()),
        "by_rule_and_grid": [
            {"rule": rule, "grid": grid, **dict(counts)}
            for (rule, grid), counts in found.tally().items()
        ],
        "problems": problems,
    }


def _load(past: Past) -> dict[str, Any]:
    """Alerts, and how many a day a person is told of, by level."""
    days = max(1, past.span_ms[1] - past.span_ms[0]) / DAY_MS
    told = [episode for episode in past.episodes if episode.delivered and not episode.late]
    return {
        "alerts": len(past.episodes),
        "told": len(told),
        "told_a_day": round(len(told) / days, 3) if days >= 1 else None,
        "levels": {str(n): sum(one.severity == n for one in told) for n in (1, 2, 3, 4)},
        "marked_false": sum(one.disposition == "false" for one in past.episodes),
        "cpu_s": round(past.cpu_s, 3),
    }


def _show(
    console: Console,
    found: Comparison,
    before: Past,
    after: Past,
    problems: list[str],
    local: Zone,
) -> None:
    old, new = _load(before), _load(after)
    console.print(
        f"{before.readings} readings; alerts told: {old['told']} before, {new['told']} after "
        f"/ 读数 {before.readings}，告警 {old['told']} → {new['told']}"
    )
    table = Table("rule 规则", "grid 网格", "same 不变", "moved 变动", "added 新增", "lost 丢失")
    for (rule, grid), counts in found.tally().items():
        numbers = (counts["same"], counts["moved"], counts["added"], counts["lost"])
        if any(numbers[1:]):
            table.add_row(rule, grid, *(str(number) for number in numbers))
    console.print(table if table.row_count else "No alert changed / 没有告警变化")
    for verdict, episodes in (("lost 丢失", found.lost), ("added 新增", found.added)):
        for one in episodes[:SHOWN]:
            said = f", marked {one.disposition}" if one.disposition else ""
            console.print(
                f"{verdict}: {one.rule} {one.device} {local.told(one.raised_ms)}{said}",
                highlight=False,
            )
        _more(console, verdict, len(episodes))
    for one_moved in found.moved[:SHOWN]:
        one = one_moved.new
        why = ", ".join(one_moved.why)
        console.print(
            f"moved 变动: {one.rule} {one.device} {local.told(one.raised_ms)}: {why}",
            highlight=False,
        )
    _more(console, "moved 变动", len(found.moved))
    for problem in problems:
        console.print(f"[bold red]{problem}[/]")


def _more(console: Console, verdict: str, count: int) -> None:
    if count > SHOWN:
        console.print(f"{verdict}: {count - SHOWN} more; see --out or --json", highlight=False)
