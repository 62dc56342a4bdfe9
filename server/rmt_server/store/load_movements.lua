-- -> {'ok', record, movements}: the two as of one moment
if missing() then return NO_SESSION end
return {'ok', record(), redis.call('GET', MOVEMENTS) or ''}
