"""Models as pure operators: readings in, scores out as readings. Sessions are handed in."""
