"""What a rule may ask of the past and of the calendar, worked out over columns."""
