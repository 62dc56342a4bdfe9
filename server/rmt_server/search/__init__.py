"""Search: passages of kept text, found by their words. Read `passages`, then `words`, `index`, `indexes`."""
