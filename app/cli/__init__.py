"""One file a verb. Exit status: 0 fine, 1 the input has findings, 2 wrong use."""
