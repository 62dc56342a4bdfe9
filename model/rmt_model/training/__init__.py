"""Training a memory into a backbone: planted facts, a curriculum over segments, a trainer that resumes."""
