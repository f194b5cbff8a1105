"""From alerts to people: episodes, deliveries, outbox, HTTP API."""
