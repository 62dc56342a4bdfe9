-- The session's memory becomes another one. Its text so far does not belong to that one, and goes.
-- ARGV: etag, revision or '', state, read_bytes, tokens, segments, digest, waiting_segments
-- -> {'ok', record, now_ms, bytes kept before} | {'stale', etag} | {'open', document} | {'unread', bytes}
local expected, state, position, tokens, segments, digest, waiting = unpack(ARGV)
if missing() then return NO_SESSION end
if expected ~= '' and expected ~= etag() and expected ~= get('revision') then return {'stale', etag()} end
if get('open') ~= '' then return {'open', get('open')} end
if pending() then return {'unread', number('accepted_bytes') - number('read_bytes')} end

local kept = number('accepted_bytes') - number('text_start') + number('state_bytes') + (number('aside_bytes') or 0)
redis.call('SET', STATE, state)
redis.call('UNLINK', TEXT, TAIL, DOCUMENTS, BOUNDARIES, FINISHED, LANES, TIMELINE, MOVEMENTS)
set('read_bytes', position, 'accepted_bytes', position, 'text_origin', position, 'text_start', position)
set('tokens', tokens, 'segments', segments, 'digest', digest, 'state_bytes', #state)
set('waiting_segments', waiting, 'compacted_blocks', 0, 'aside_bytes', 0, 'counted_chars', 0, 'counted_bytes', position)
redis.call('HDEL', SESSION, 'timeline_last', 'timeline_spacing', 'moved')
redis.call('HINCRBY', SESSION, 'revision', 1)
redis.call('HDEL', SESSION, 'owner', 'lease_until_ms', 'life')
publish('progress')
touch()
return {'ok', record(), now_ms, kept}
