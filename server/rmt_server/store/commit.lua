-- The reader's progress: compare-and-set on (owner, fence, revision).
-- ARGV: owner, fence, revision, lease_ms, state, read_bytes, tokens, segments, digest, waiting_segments,
--       most states of the timeline, byte of the movements, movements from there on, how far the memory moved at most
--       or '', finished document, ...
-- -> {'ok', record, bytes more that are kept aside} | {'fenced'} | {'position'}
local owner, fence, revision, lease_ms, state, position, tokens, segments, digest, waiting = unpack(ARGV, 1, 10)
if missing() then return NO_SESSION end
if not held(owner, fence) or get('revision') ~= revision then return FENCED end
local read, accepted = tonumber(position), number('accepted_bytes')
if read < number('read_bytes') or read > accepted then return {'position'} end
for index = 15, #ARGV do
  local stop = redis.call('ZSCORE', BOUNDARIES, ARGV[index])
  if not stop or tonumber(stop) > read then return {'position'} end
end

-- The timeline keeps some states, evenly spaced, where Redis has room for them.
local most, at, aside = tonumber(ARGV[11]), tonumber(segments), number('aside_bytes') or 0
local spacing = number('timeline_spacing') or 1
local due = most > 0 and at >= (number('timeline_last') or 0) + spacing
local kept = due and type(redis.pcall('HSET', TIMELINE, at, state)) == 'number'

although_full()
redis.call('SET', STATE, state)
redis.call('HINCRBY', SESSION, 'revision', 1)
set('read_bytes', position, 'tokens', tokens, 'segments', segments, 'digest', digest, 'state_bytes', #state)
set('waiting_segments', waiting, 'lease_until_ms', now_ms + lease_ms)

-- Of the movements only what is new was sent. Where what is before is gone, they begin anew with the next lease.
local from, movements, before = tonumber(ARGV[12]), ARGV[13], redis.call('STRLEN', MOVEMENTS)
if from == 0 then redis.call('SET', MOVEMENTS, movements)
elseif from <= before then redis.call('SETRANGE', MOVEMENTS, from, movements)
else redis.call('UNLINK', MOVEMENTS) end
count_aside(redis.call('STRLEN', MOVEMENTS) - before)

local moved = tonumber(ARGV[14])
if moved and moved > (number('moved') or -1) then set('moved', ARGV[14]) end

-- When the timeline has too many, every second one goes.
if kept then
  set('timeline_last', at)
  count_aside(#state)
  local points = redis.call('HKEYS', TIMELINE)
  if #points > most then
    table.sort(points, function(one, other) return tonumber(one) < tonumber(other) end)
    for index = 1, #points, 2 do
      count_aside(0 - redis.call('HSTRLEN', TIMELINE, points[index])) -- of an empty one -0 would be no integer
      redis.call('HDEL', TIMELINE, points[index])
    end
    set('timeline_spacing', 2 * spacing, 'timeline_last', points[#points - #points % 2])
  end
end

-- Records of read documents stay for a while: the last so many.
for index = 15, #ARGV do
  local id = ARGV[index]
  local document = load_document(id)
  document.read = true
  save_document(id, document)
  redis.call('ZREM', BOUNDARIES, id)
  redis.call('HINCRBY', SESSION, 'pending_documents', -1)
  redis.call('RPUSH', FINISHED, id)
end
while redis.call('LLEN', FINISHED) > FINISHED_DOCUMENTS do
  redis.call('HDEL', DOCUMENTS, redis.call('LPOP', FINISHED))
end

-- Text that is not to be kept goes by whole blocks, and entirely once all of it is read.
if get('keep_text') == '0' then
  local origin = number('text_origin')
  if read == accepted then
    redis.call('UNLINK', TEXT, TAIL)
    set('text_origin', read, 'text_start', read)
  else
    local block = block_of(read, origin)
    for old = block_of(number('text_start'), origin), block - 1 do
      redis.call('HDEL', TEXT, old)
    end
    set('text_start', origin + block * BLOCK_BYTES)
  end
end
if #ARGV > 14 then
  publish('done', 'documents', table.concat(ARGV, ' ', 15))
else
  publish('progress')
end
touch()
return {'ok', record(), (number('aside_bytes') or 0) - aside}
