"""Named benchmarks: each runs the path that users run and prints one document."""
