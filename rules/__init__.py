"""The rule language: schema, expressions, compile, columnar operators.

`compile_rules` turns texts into a `RuleSet`; `rules.engine.RuleEngine` runs it over batches.
"""

from rules.compile import compile_rules
from rules.finding import Finding, RulesInvalid
from rules.ruleset import RuleSet

__all__ = ["Finding", "RuleSet", "RulesInvalid", "compile_rules"]
