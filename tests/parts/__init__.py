"""Real parts that tests start, and how they are looked for."""
