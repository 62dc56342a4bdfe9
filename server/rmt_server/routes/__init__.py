"""Routes: one file for each noun, no logic."""
