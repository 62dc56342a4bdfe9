"""The service room: what is done for a caller, in terms of store and scheduler. It knows memories, not HTTP."""
