"""Measuring what a checkpoint can answer, and over which distance."""
