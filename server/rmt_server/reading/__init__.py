"""The reading room: the only one with the engine. It reads sessions on, and answers from their memory."""
