"""Documents with questions: where they come from, and how they are hidden in other text."""
