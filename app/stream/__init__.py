"""What gridwarden keeps in Kafka, and how it gets there: see docs/adr/0010."""
