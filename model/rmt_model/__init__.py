"""Recurrent Memory Transformer: reads documents of any length into a constant-size memory, and answers from it."""
