"""The wire room: what stands in requests and answers."""
