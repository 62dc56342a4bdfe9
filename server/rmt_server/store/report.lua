-- Tells whoever follows the session what went wrong with a document; nothing else is changed.
-- ARGV: problem
-- -> {'ok'}
if missing() then return NO_SESSION end
publish('error', 'problem', ARGV[1])
redis.call('PEXPIREAT', EVENTS, get('expires_ms'))
return {'ok'}
