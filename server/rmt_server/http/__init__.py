"""The HTTP room: what stands around every call: bounds, callers, errors, and what is told while one waits."""
