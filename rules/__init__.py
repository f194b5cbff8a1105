"""The rule language: schema, expressions, compile, columnar operators."""
