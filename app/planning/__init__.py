"""How much of everything a city needs, out of what was measured. Pure."""
