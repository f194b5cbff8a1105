"""What becomes of commands that operators give."""

from __future__ import annotations

from enum import Enum

from contracts.messages import OperatorCommand
from dispatch.alert import Alert


class Verdict(Enum):
    """What became of a command. All but `ACCEPTED` changed nothing."""

    ACCEPTED = "accepted"
    NO_CHANGE = "no_change"  # it was so already
    UNKNOWN_ALERT = "unknown_alert"
    ALREADY_CLEARED = "already_cleared"  # nothing to reset
    NO_DISPOSITION = "no_disposition"  # the command names none


def judge(cmd: OperatorCommand, alert: Alert | None) -> Verdict:
    """What a command may do to the alert that it names; None = there is no such alert."""
    if alert is None:
        return Verdict.UNKNOWN_ALERT
    if cmd.action == "reset":
        return Verdict.ALREADY_CLEARED if alert.state == "cleared" else Verdict.ACCEPTED
    if cmd.action == "acknowledge":
        return Verdict.NO_CHANGE if alert.acknowledged else Verdict.ACCEPTED
    if cmd.disposition is None:
        return Verdict.NO_DISPOSITION
    return Verdict.NO_CHANGE if cmd.disposition == alert.disposition else Verdict.ACCEPTED
