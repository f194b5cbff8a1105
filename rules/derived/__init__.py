"""Quantities made of readings and time: rows that rules read like any others.

`stage.Derive` adds them to the rows of a time mark; each kind of them is a `stage.Deriver`.
"""
