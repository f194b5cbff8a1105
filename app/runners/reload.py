"""Changed rule files are checked and taken over while the server runs; bad ones are refused.

A thread looks at the rules folder every few seconds and when it is asked (SIGHUP, or a request
in the data folder). What differs from the rules in force is taken only when two looks in a row
found the same bytes: an editor's half-written file is never taken. It is checked as a whole, and
then a record in the log names it and the event time from which on it is in force.

What came of it stands in `rules.json` in the data folder, for people and for the next start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from app.changeover import RulesNews
from app.content import ContentError, content_hash, pack_rules, rule_folders, unpack_rules
from app.contents import Contents
from app.metrics import Metrics
from app.runners.rules_state import (
    Coming,
    Found,
    Refusal,
    RulesState,
    read_state,
    request_file,
    state_file,
    write_state,
)
from contracts.alerts import timestamp
from ingest.storage import StoreError
from rules import RulesInvalid

ASKED_S = 0.25
"""How often it is looked whether somebody asks (proposal): a look at one file."""

AGAIN_MS = 2_000
"""How soon a look that had to wait for another change is repeated (proposal)."""

MOST_FINDINGS = 20
RETRY_MS = 60_000
"""How long to wait after the log refused an activation (proposal): a clock may have jumped."""


_Looks = tuple[tuple[str, int, int], ...]


class Reload:
    """`run` in a thread of its own; `tell` from the deciding thread; the rest from any."""

    def __init__(
        self,
        folder: Path,
        data: Path,
        contents: Contents,
        *,
        append: Callable[[str, bytes], None],
        clock: Callable[[], int],
        metrics: Metrics,
        logger: structlog.stdlib.BoundLogger,
        every_s: float,
        asked: threading.Event,
        alarm: Callable[[Refusal | None], None],
    ) -> None:
        """append: writes the record that names a content by its hash. every_s: 0 = only when asked.
        asked: set by whoever wants a look now, also a signal handler.

        alarm: tells people that something was refused; None = no longer.
        """
        self._folder, self._data, self._contents = folder, data, contents
        self._folders: tuple[Path, ...] = (folder,)
        self._append, self._clock, self._metrics = append, clock, metrics
        self._logger, self._every_ms, self._alarm = logger, round(every_s * 1000), alarm
        self._lock = threading.Lock()
        self._asked = asked
        self._seen = ""
        self._settled: tuple[_Looks, Found] | None = None
        self._looked_ms = 0
        self._not_before_ms = 0
        self._appended = ""
        self._again = False
        self._state = self._begun(folder)

    def _begun(self, folder: Path) -> RulesState:
        """What the last run left behind, as far as it can be read."""
        try:
            before = read_state(self._data)
        except (msgspec.DecodeError, OSError) as error:
            self._logger.warning("rules", file=str(state_file(self._data)), error=str(error))
            before = None
        state = before or RulesState(folder=str(folder))
        return msgspec.structs.replace(state, folder=str(folder), coming=None, refused=None)

    @property
    def state(self) -> RulesState:
        return self._state

    # What the log and the engine say

    def begin(self, in_force: str, coming: tuple[str, int] | None) -> None:
        """Where the engine stands at the start. coming: content and event time."""
        said = None
        if coming is not None:
            said = Coming(content=coming[0], activates=timestamp(coming[1]))
        with self._lock:
            self._put(in_force=in_force, coming=said)

    def tell(self, news: Sequence[RulesNews]) -> None:
        """What became of records that named rules."""
        with self._lock:
            for one in news:
                self._told(one)

    def _told(self, one: RulesNews) -> None:
        self._appended = ""
        log = self._logger.bind(content=one.content[:12])
        activates = "" if one.activate_ms is None else timestamp(one.activate_ms)
        self._metrics.rules_changes.labels(one.state).inc()
        if one.state == "begun":
            log.info("rules take over", activates=activates)
            coming = Coming(content=one.content, activates=activates, report=one.report)
            self._put(coming=coming)
        elif one.state == "done":
            for said in one.report:
                log.info("rule", rule=said.rule, outcome=said.outcome, why=said.why)
            log.info("rules in force", rules=len(one.report))
            self._put(
                in_force=one.content,
                since=timestamp(one.heard_ms),
                activated=activates,
                report=one.report,
                coming=None,
            )
        else:
            log.error("rules refused by the log", why=one.why, activates=activates)
            self._not_before_ms = self._clock() + RETRY_MS
            self._refuse(one.content, [f"{one.why}; it is tried again"])

    # Looking

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(ASKED_S):
            token = self._requested()
            if token or self._asked.is_set():
                self._asked.clear()
                self._look(token, stopping)
            elif self._clock() - self._looked_ms >= (self._every_ms or AGAIN_MS) and (
                self._every_ms or self._again
            ):
                self.look()

    def _requested(self) -> str:
        """The token of a request in the data folder, which is taken away."""
        path = request_file(self._data)
        try:
            token = path.read_text(encoding="ascii").strip()
            path.unlink()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            self._logger.error("rules", file=str(path), error=str(error))
            return ""
        return token or "unnamed"

    def _look(self, token: str, stopping: threading.Event) -> None:
        """Two looks in a row, so that the answer is about what is there now."""
        self._not_before_ms, self._settled = 0, None
        found = self.look()
        if found == "unsteady" and not stopping.wait(ASKED_S):
            found = self.look()
        with self._lock:
            answered = token or self._state.answered
            self._put(answered=answered, found=found, looked_at=self._seen)

    def look(self) -> Found:
        """Once at the folder: first at times and sizes only, when nothing is under way."""
        self._looked_ms = self._clock()
        looks = tuple(one for folder in self._folders for one in _looks(folder))
        if self._settled is not None and self._settled[0] == looks:
            return self._settled[1]
        found = self._look_into()
        idle = self._state.coming is None and not self._appended
        settled = idle and (found == "nothing" or (found == "refused" and not self._not_before_ms))
        self._settled = (looks, found) if settled else None
        return found

    def _look_into(self) -> Found:
        try:
            content = pack_rules(self._folder)
            self._folders = rule_folders(self._folder)
        except (ContentError, OSError) as error:
            return self._unreadable(str(error))
        name = content_hash(content)
        steady, self._seen = name == self._seen, name
        with self._lock:
            state = self._state
            current = state.coming.content if state.coming else state.in_force
            if name == current:
                self._refuse(name, [])
                return "nothing"
            if name == self._appended or state.coming is not None:
                self._again = name != self._appended  # One after the other.
                return "nothing"
            self._again = False
            if state.refused and name == state.refused.content and self._waits():
                return "refused"
        if not steady:
            return "unsteady"
        return self._take(name, content)

    def _waits(self) -> bool:
        """Whether there is no sense in trying the refused content again now."""
        return self._not_before_ms == 0 or self._clock() < self._not_before_ms

    def _unreadable(self, why: str) -> Found:
        steady, self._seen = why == self._seen, why
        if not steady:
            return "unsteady"
        with self._lock:
            self._refuse("", [why])
        return "refused"

    def _take(self, name: str, content: bytes) -> Found:
        try:
            self._contents.remember(name, unpack_rules(content))
        except RulesInvalid as error:
            with self._lock:
                self._not_before_ms = 0
                self._refuse(name, [str(finding) for finding in error.findings])
            return "refused"
        with self._lock:
            self._appended = name
            self._refuse(name, [])
        try:
            self._append(name, content)
        except StoreError as error:
            with self._lock:
                self._appended = ""
                self._not_before_ms = self._clock() + RETRY_MS
                self._refuse(name, [f"the log can't be written: {error}"])
            return "refused"
        return "taken"

    def _refuse(self, name: str, findings: list[str]) -> None:
        """Keep and tell what is wrong with this content; nothing = all is well again."""
        before = self._state.refused
        if not findings:
            if before is not None:
                self._logger.info("rules", refused="no longer")
                self._metrics.rules_refused.set(0)
                self._put(refused=None)
                self._alarm(None)
            return
        shown = tuple(findings[:MOST_FINDINGS])
        if before is not None and before.content == name and before.findings == shown:
            return
        self._metrics.rules_refused.set(1)
        more = len(findings) - len(shown)
        at = timestamp(self._clock())
        refusal = Refusal(at=at, content=name, findings=shown, more=more)
        self._logger.error(
            "rules refused, those in force stay", first=findings[0], findings=len(findings)
        )
        self._put(refused=refusal)
        self._alarm(refusal)

    def _put(self, **changed: object) -> None:
        """Change the state, in memory and on disk."""
        state = msgspec.structs.replace(self._state, **changed)
        if state == self._state and state_file(self._data).exists():
            return
        self._state = state
        try:
            write_state(self._data, state)
        except OSError as error:
            # A full disk: what is in memory still answers; the log has what counts.
            self._logger.error("rules", file=str(state_file(self._data)), error=str(error))


def _looks(folder: Path) -> _Looks:
    """(name, mtime, size) of all files below the folder; those that go meanwhile are left out."""
    found = []
    try:
        for path in sorted(folder.rglob("*")):
            facts = path.stat()
            found.append((str(path), facts.st_mtime_ns, facts.st_size))
    except OSError:
        return ()
    return tuple(found)
