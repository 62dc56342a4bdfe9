"""The room of the redis-server beside this process: found, started, kept alive; and the URL of a given one."""
