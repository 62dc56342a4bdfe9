-- Whether Redis takes changes: one that takes memory, and leaves nothing.
-- KEYS: probe
-- -> {'ok'}
redis.call('SET', KEYS[1], 1)
redis.call('UNLINK', KEYS[1])
return {'ok'}
