-- ARGV: digest of what is asked for, state, then field, value, ...
-- -> {'ok', record, now_ms, created (0 or 1)} | {'reused'}. A retry with the same id gets the session as it stands.
local asked, created = ARGV[1], missing()
if created then
  redis.call('UNLINK', unpack(KEYS))
  set('asked', asked, unpack(ARGV, 3))
  set('created_ms', now_ms, 'fence', 0, 'revision', 0, 'edits', 0, 'open', '')
  set('documents', 0, 'pending_documents', 0, 'compacted_blocks', 0, 'aside_bytes', 0)
  set('counted_chars', 0, 'counted_bytes', get('accepted_bytes'))
  redis.call('SET', STATE, ARGV[2])
  publish('progress')
  touch()
elseif get('asked') ~= asked then
  return {'reused'}
end
return {'ok', record(), now_ms, created and 1 or 0}
