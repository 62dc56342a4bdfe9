"""Measuring what a checkpoint can answer and predict, over which length of text, beside the published numbers."""
