"""The doctor's room: what a Redis and a machine must be, and what is wrong with these."""
