"""From bytes to tagged readings: decode, quarantine, the log, clock guard, dedup, stores."""
