"""The gateway agent: sources, the on-disk outbox and the MQTT publisher."""
