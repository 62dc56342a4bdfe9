-- Names a session that may have something to read, and from when to try it.
-- KEYS: ready. ARGV: member, due_ms, NX (a hint that is there stays), XX (only one that is there moves) or CH (set)
-- -> {'ok'}
redis.call('PERSIST', KEYS[1]) -- does nothing, but a full Redis lets the rest pass: see prelude.lua
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2], ARGV[1])
return {'ok'}
