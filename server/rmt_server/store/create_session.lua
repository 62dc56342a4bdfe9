-- ARGV: state, then field, value, ...
-- -> {'ok', record, now_ms, created (0 or 1)}. A retry with the same id gets the session as it stands.
local created = missing()
if created then
  set(unpack(ARGV, 2))
  set('created_ms', now_ms, 'fence', 0, 'revision', 0, 'edits', 0, 'open', '')
  set('documents', 0, 'pending_documents', 0, 'compacted_blocks', 0)
  redis.call('SET', STATE, ARGV[1])
  publish('progress')
  touch()
end
return {'ok', record(), now_ms, created and 1 or 0}
