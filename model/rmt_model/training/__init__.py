"""Training a memory into a backbone: a curriculum over segments, on samples that are built from a seed."""
