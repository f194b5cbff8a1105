"""Quiet homes: how improbable is a silence this long for a living, well person at home?

`operator.InactivityOperator` is the detector; `alarms` says what its scores are worth a call for.
"""
