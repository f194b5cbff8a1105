"""Expressions of rules: grammar, syntax tree, check of units and names, evaluation on columns."""
