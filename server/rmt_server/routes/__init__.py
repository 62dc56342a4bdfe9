"""The routes: one file for each noun, no logic; their scopes, and their contract."""
