"""What happens in a test beside its readings: faults, commands, and what is expected."""

from __future__ import annotations

import yaml

from rules.finding import suggest
from rules.testing.case import Command, Expectation
from rules.testing.checks import CHANGES, CHECKS
from rules.testing.faults import FORMS, OF_GATEWAY, Fault, FaultError, parse_fault
from rules.testing.fields import Draft, Fields, Found

ACTIONS = ("acknowledge", "reset", "disposition")
DISPOSITIONS = ("real", "false", "drill")


class Happenings(Fields):
    """Reads the lists of that kind."""

    def faults(self, found: Found, draft: Draft) -> list[Fault]:
        faults: list[Fault] = []
        if "faults" not in found:
            return faults
        for path, node in self.reader.items(found["faults"][1], f"{draft.path}.faults"):
            given = self.reader.mapping(node, path)
            self.reader.known(given, path, FORMS)
            if given and len(given) != 1:
                self.reader.fault(node, path, "more than one fault", "give each its own -")
            for kind, (key, value) in given.items():
                if kind in FORMS:
                    fault = self._fault(kind, value, f"{path}.{kind}", draft)
                    faults += [] if fault is None else [fault]
                del key
        return faults

    def _fault(self, kind: str, node: yaml.Node, path: str, draft: Draft) -> Fault | None:
        text = self.reader.text(node, path)
        if not text:
            return None
        try:
            fault = parse_fault(kind, text, node.start_mark.line + 1)
        except FaultError as error:
            self.reader.fault(node, path, error.problem, error.mend)
            return None
        known = set(draft.gateways)
        if kind not in OF_GATEWAY:
            known = set(draft.devices) | (known if kind == "drop" else set())
        if fault.who not in known:
            what = "gateway" if kind in OF_GATEWAY else "device"
            mend = suggest(fault.who, known)
            self.reader.fault(node, path, f"no {what} {fault.who} in this test", mend)
        return fault

    def commands(self, found: Found, draft: Draft) -> list[Command]:
        commands: list[Command] = []
        if "commands" not in found:
            return commands
        for path, node in self.reader.items(found["commands"][1], f"{draft.path}.commands"):
            given = self.reader.mapping(node, path)
            self.reader.known(given, path, ("at", "rule", "device", "is", *ACTIONS))
            actions = [word for word in given if word in ACTIONS]
            if len(actions) != 1 or "at" not in given:
                mend = "write {at: 5m, reset: smoke.fire, device: s1}"
                self.reader.fault(node, path, "says not what and when", mend)
                continue
            action = actions[0]
            disposition = self.word(given, "is", path)
            if (action == "disposition") != (disposition in DISPOSITIONS):
                mend = "write {at: 5m, disposition: smoke.fire, is: false}"
                self.reader.fault(node, path, "only a disposition has an is", mend)
            commands.append(
                Command(
                    node.start_mark.line + 1,
                    self.offset(given["at"][1], f"{path}.at"),
                    action,
                    self.reader.text(given[action][1], f"{path}.{action}"),
                    self.whose(given, node, path, draft),
                    disposition,
                )
            )
        return commands

    def expectations(self, found: Found, draft: Draft) -> list[Expectation]:
        if "expect" not in found:
            return []
        node = found["expect"][1]
        if isinstance(node, yaml.ScalarNode) and not node.value.strip():
            self.reader.fault(node, f"{draft.path}.expect", "is empty", "write expect: [] for none")
            return []
        listed = self.reader.items(node, f"{draft.path}.expect")
        return [self._expectation(item, path, draft) for path, item in listed]

    def _expectation(self, node: yaml.Node, path: str, draft: Draft) -> Expectation:
        reader = self.reader
        found = reader.mapping(node, path)
        reader.known(found, path, ("at", "rule", "device", "is", "known_at", *CHECKS))
        for word in ("at", "is"):
            if found and word not in found:
                reader.fault(node, f"{path}.{word}", f"{word} is missing", f"add {word}:")
        rule = self.word(found, "rule", path) or draft.rule
        if found and not rule:
            reader.fault(node, f"{path}.rule", "rule is missing", "add rule:")
        change = self.word(found, "is", path)
        if change and change not in CHANGES:
            problem = f"{change!r} is no change of an alert"
            reader.fault(found["is"][1], f"{path}.is", problem, suggest(change, CHANGES))
        known = found.get("known_at")
        checks = {}
        for word, (_, value) in found.items():
            if word in CHECKS:
                checks[word] = reader.text(value, f"{path}.{word}")
                mend = CHECKS[word].mend(checks[word])
                if checks[word] and mend:
                    reader.fault(value, f"{path}.{word}", f"{checks[word]!r} doesn't fit", mend)
        return Expectation(
            line=node.start_mark.line + 1,
            path=path,
            at_ms=self.offset(found["at"][1], f"{path}.at") if "at" in found else 0,
            rule=rule,
            device=self.whose(found, node, path, draft),
            change=change,
            known_at_ms=None if known is None else self.offset(known[1], f"{path}.known_at"),
            checks=checks,
        )
