"""What runs the engine: embedded in one process, or over a recording."""
