-- In front of every script on a session: its keys, the clock, and what the scripts say alike.
-- A script answers {'ok', ...} or a refusal {name, ...}; what refuses has changed nothing.

local SESSION, STATE, TEXT, TAIL, DOCUMENTS, BOUNDARIES, FINISHED, SNAPSHOTS, EVENTS, LANES, TIMELINE, ENDS, MOVEMENTS =
  unpack(KEYS)
local NO_SESSION, FENCED = {'session'}, {'fenced'}

-- A record without its state is what a torn log of Redis can leave: nothing that could be read on.
local function missing()
  return redis.call('EXISTS', SESSION, STATE) < 2
end

local function get(field)
  return redis.call('HGET', SESSION, field)
end

local function number(field)
  return tonumber(get(field))
end

local function set(...)
  redis.call('HSET', SESSION, ...)
end

local function record()
  return redis.call('HGETALL', SESSION)
end

local function etag()
  return get('revision') .. '-' .. get('edits')
end

-- Whether a reader has anything to do: bytes to read, the end of a document to close, or segments to take in
-- that its state holds already.
local function pending()
  return number('accepted_bytes') > number('read_bytes') or number('waiting_segments') > 0
    or redis.call('ZCARD', BOUNDARIES) > 0
end

-- Names this life of Redis. The next, after a restart or a failover, may lack the last writes of this one.
local function life()
  return redis.call('INFO', 'server'):match('run_id:(%x+)')
end

-- Whether this is still the last lease. Its time may be over: only a takeover, a restore or another life of
-- Redis ends it. Of the last, a reader may have read bytes that were lost and then sent anew, but different.
local function held(owner, fence)
  return get('owner') == owner and get('fence') == fence and get('life') == life()
end

-- The number of the block that holds a byte of the stream, and its place there.
local function block_of(byte, origin)
  return math.floor((byte - origin) / BLOCK_BYTES), (byte - origin) % BLOCK_BYTES
end

-- How many characters begin in all of the text. Unknown once a server of an older version, which does not count, has
-- made the session or appended to it.
local function counted_chars()
  if number('counted_bytes') == number('accepted_bytes') then return number('counted_chars') end
end

-- Beside each block of text stands how many characters begin before some byte in it. So a character's number is known
-- without reading the text before.
local function mark_chars(block, byte, chars)
  redis.call('HSET', TEXT, 'c' .. block, byte .. ' ' .. chars)
end

-- All keys of a session expire at one moment, its time to live after the last change.
local function touch()
  local expires_ms = now_ms + number('ttl_ms')
  set('expires_ms', expires_ms)
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIREAT', key, expires_ms)
  end
end

-- What a reader does frees memory, or takes little (movements grow to 21 kB a lane): a full Redis must not refuse
-- it. Redis looks whether it is full only at the first write of a script, and only if that one may take memory: this
-- one may not.
local function although_full()
  redis.call('PEXPIREAT', SESSION, get('expires_ms'))
end

-- Tells whoever follows the session what a script has changed: how far it is now, and what else the kind of event
-- has to say. The last so many stay.
local function publish(kind, ...)
  local names = {'accepted_bytes', 'read_bytes', 'tokens', 'segments', 'revision', 'pending_documents', 'waiting_segments'}
  local values = redis.call('HMGET', SESSION, unpack(names))
  local fields = {'kind', kind, ...}
  for index, name in ipairs(names) do
    fields[#fields + 1] = name
    fields[#fields + 1] = values[index]
  end
  redis.call('XADD', EVENTS, 'MAXLEN', KEPT_EVENTS, '*', unpack(fields))
end

-- What is kept beside text and state, and can be made anew from them.
local function count_aside(bytes)
  redis.call('HINCRBY', SESSION, 'aside_bytes', bytes)
end

local function load_document(id)
  local json = redis.call('HGET', DOCUMENTS, id)
  return json and cjson.decode(json)
end

local function save_document(id, document)
  redis.call('HSET', DOCUMENTS, id, cjson.encode(document))
end

-- How scripts on a document answer: its record, the time, and when all of it goes.
local function told(id)
  return {'ok', redis.call('HGET', DOCUMENTS, id), now_ms, get('expires_ms')}
end

-- One request writes a document at a time: the one with the last number.
local function next_writer(id, document)
  document.writer = (document.writer or 0) + 1
  save_document(id, document)
end

-- The length that a request contradicts: by another length, if it tells one, or by the byte that it reaches.
local function contradicted_length(document, length, reached)
  local known = document.length ~= cjson.null and document.length or length
  if known and ((length and length ~= known) or known < math.max(reached, document.offset)) then return known end
end

-- The document takes no more bytes; the reader is told where it ends.
local function close_document(id, document)
  document.complete = true
  set('open', '')
  redis.call('ZADD', BOUNDARIES, document.start + document.offset, id)
  redis.call('HINCRBY', SESSION, 'pending_documents', 1)
  publish('progress')
end
