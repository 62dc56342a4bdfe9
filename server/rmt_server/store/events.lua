-- What has happened in a session since an event, or how it stands when that cannot be told.
-- ARGV: id of the last event that is known ('' for none), most
-- -> {'ok', {{id, {field, value, ...}}, ...}} | {'stands', id of the last event, record}
local after, most = unpack(ARGV)
if missing() then return NO_SESSION end
local newest = redis.call('XREVRANGE', EVENTS, '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or '0-0'
if after == last then return {'ok', {}} end

-- Whether events behind the known one are gone: it is older than all that are kept, and there were others between; or
-- it is younger than all that there are, since a restart of Redis has lost the end.
local function lost()
  if #redis.call('XRANGE', EVENTS, after, '+', 'COUNT', 1) == 0 then return true end
  return redis.call('XLEN', EVENTS) == KEPT_EVENTS and #redis.call('XRANGE', EVENTS, '-', after, 'COUNT', 1) == 0
end

if after == '' or lost() then return {'stands', last, record()} end
return {'ok', redis.call('XRANGE', EVENTS, '(' .. after, '+', 'COUNT', most)}
