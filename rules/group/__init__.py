"""Rules over the devices of a group, in two stages that may run apart.

`predicates.Predicates` finds out, device by device and in event time, where the answer to a
question changes; `operator.GroupOperator` counts the answers of each group and runs the state
machine over groups. Between them goes a `contracts.predicates.PredicateBatch`.
"""
