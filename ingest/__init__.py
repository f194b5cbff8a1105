"""From bytes to tagged readings: decode, quarantine, the log, clock guard, dedup, gap ledger, registry, stores."""
