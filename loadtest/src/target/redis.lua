-- Charges an instance as farebox does: once under a key, over its line items in charging order, all
-- or nothing, with a record of it. Tokens are whole, and at most 2^53: Lua has no other numbers.
--
-- KEYS: the line items in charging order (list), what each has left (hash), the log (stream), and
--       where the answer is kept under an idempotency key, if there is one
-- ARGV: the tokens that are asked for, the request as it is logged, and how long an answer is kept
-- Answers `id=tokens`, with a space between them, of each line item that was charged; denied: nothing.
local order, left, log, answer = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local wanted = tonumber(ARGV[1])

if answer then
    local known = redis.call('GET', answer)
    if known then return known end
end

local charges = {}
for _, id in ipairs(redis.call('LRANGE', order, 0, -1)) do
    local available = tonumber(redis.call('HGET', left, id))
    if available > 0 then
        local tokens = math.min(available, wanted)
        charges[#charges + 1] = { id, string.format('%.0f', tokens) }
        wanted = wanted - tokens
        if wanted == 0 then break end
    end
end
if wanted > 0 then charges = {} end

local charged = {}
for position, charge in ipairs(charges) do
    redis.call('HINCRBY', left, charge[1], '-' .. charge[2])
    charged[position] = charge[1] .. '=' .. charge[2]
end
charged = table.concat(charged, ' ')
redis.call('XADD', log, '*', 'request', ARGV[2], 'charged', charged)
if answer then redis.call('SET', answer, charged, 'EX', ARGV[3]) end
return charged
