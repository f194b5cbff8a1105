"""The registry on disk: load it, and check it with the line and the mend of every fault."""

from ingest.registry.findings import Finding, RegistryError
from ingest.registry.folder import check, load, load_with_findings

__all__ = ["Finding", "RegistryError", "check", "load", "load_with_findings"]
