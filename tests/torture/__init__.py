"""The promises, each by a test that kills something; docs/torture.md describes them."""
