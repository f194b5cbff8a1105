"""Devices that a group rule watches and that belong to no group: a registry's gaps."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.directory import DeviceDirectory
from contracts.groups import needed_attributes
from contracts.registry import Registry
from rules.finding import Finding
from rules.parts import Parts
from rules.ruleset import RuleSet


def placeless(ruleset: RuleSet, registry: Registry) -> Iterator[Finding]:
    """One finding for each rule that misses devices."""
    if not any(rule.group for rule in ruleset.rules):
        return
    missed = Parts(ruleset, DeviceDirectory(registry)).groups.ungrouped()
    for rule in ruleset.rules:
        if rule.group is None or not missed[rule.id]:
            continue
        number = missed[rule.id]
        problem = f"{number} of the devices that it watches belong to no {rule.group}"
        if rule.group == "gateway":
            mend = "give each its gateway in the registry"
        else:
            mend = f"give each its {' and '.join(('grid', *needed_attributes(rule.group)))}"
        yield Finding(rule.file, rule.line, f"{rule.id}.group", problem, mend)
