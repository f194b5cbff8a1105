"""Ways out of the store: webhook, MQTT, and the live stream."""
