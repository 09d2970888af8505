-- One exchange of a process with the state of a pool: the second writing of transition.py, which is the definition.
-- Read that first. Names are the same here; the conformance suite holds both together, number by number.
--
-- All figures are whole and below 2^53, so that doubles are exact; quotients are taken of figures whose sum is, so that
-- floor and ceil are exact too.
--
-- KEYS: 1 the state, 2 processes, 3 leases, 4 replies; all in one hash slot.

local MODULUS, LEASE_US, BEAT_US, SWEEP_US, BACK_US = 1125899906842624, 10000000, 3000000, 1000000, 1000000
local READY, WANTED, OTHER = 0, 1, 2
local RATE, TICK, CAPACITY, LEVEL, AT, SPENT = 1, 2, 3, 4, 5, 6
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max

local process, number, digest, version = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local ahead_us, keep_ms, pause_until_us, presence = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), ARGV[8]
local sent, changes, asks, lesson, lesson_text = ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local definition, definition_text, now_us = ARGV[14], ARGV[15], tonumber(ARGV[16])
if not now_us then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
end

local function words(text)
  local list, n = {}, 0
  for word in string.gmatch(text, '%S+') do
    n = n + 1
    list[n] = word
  end
  return list, n
end

local function numbers(text)
  local list, n = {}, 0
  for word in string.gmatch(text, '%S+') do
    n = n + 1
    list[n] = tonumber(word)
  end
  return list, n
end

local function text_of(list)
  local texts = {}
  for i = 1, #list do
    local value = list[i]
    texts[i] = type(value) == 'number' and string.format('%.0f', value) or value
  end
  return table.concat(texts, ' ')
end

local function level_at(line, tick)
  local gap, level, rate = tick - line[AT], line[LEVEL], line[RATE]
  if gap <= 0 or rate == 0 then return level end
  if gap >= ceil((line[CAPACITY] - level) / rate) then return line[CAPACITY] end
  return level + gap * rate
end

local function lines_of(text)
  local figures, n = numbers(text)
  local lines = {}
  for i = 0, n / 6 - 1 do
    lines[i + 1] = {unpack(figures, 6 * i + 1, 6 * i + 6)}
  end
  return lines
end

local function defined_lines(old)
  local figures, n = numbers(definition)
  local lines = {}
  for i = 0, n / 4 - 1 do
    local rate, tick, capacity, level = unpack(figures, 4 * i + 1, 4 * i + 4)
    local before = old[i + 1]
    if before then
      local part = floor(level_at(before, floor(now_us / before[TICK])) / max(1, floor(before[CAPACITY] / 1000)))
      level = min(capacity, min(1000, max(-1000, part)) * floor(capacity / 1000))
    end
    lines[i + 1] = {rate, tick, capacity, level, floor(now_us / tick), 0}
  end
  return lines
end

local stored = redis.call('HMGET', KEYS[1], 'h', 'l', 'd')
local known_digest = stored[3]
local clock_us, held_version, anchor_us, held_pause_us, leases_made, sweep_at_us, lines

if not stored[1] then
  if definition == '' then return {WANTED, text_of({now_us})} end
  clock_us, held_version, anchor_us, held_pause_us, leases_made, sweep_at_us = now_us, 0, 0, 0, 0, 0
  lines, known_digest = defined_lines({}), digest
  redis.call('HSET', KEYS[1], 'd', digest, 't', definition_text, 'b', '')
else
  local head = numbers(stored[1])
  local state_now_us
  state_now_us, clock_us, held_version, anchor_us = head[1], head[2], head[3], head[4]
  held_pause_us, leases_made, sweep_at_us = head[5], head[6], head[7]
  lines = lines_of(stored[2])
  local back_us = state_now_us - now_us
  if back_us > 0 and back_us <= BACK_US then
    now_us = state_now_us
  elseif back_us > BACK_US then
    clock_us, held_pause_us = clock_us - back_us, max(0, held_pause_us - back_us)
    anchor_us, sweep_at_us = min(anchor_us, now_us), now_us
    for _, line in ipairs(lines) do line[AT] = floor(now_us / line[TICK]) end
    redis.call('DEL', KEYS[2], KEYS[3])
  end
end

local function head_text()
  return text_of({now_us, clock_us, held_version, anchor_us, held_pause_us, leases_made, sweep_at_us})
end

local function keep_lines()
  local figures = {}
  for _, line in ipairs(lines) do
    for j = 1, 6 do figures[#figures + 1] = line[j] end
  end
  return text_of(figures)
end

if known_digest ~= digest then
  if definition == '' then
    redis.call('HSET', KEYS[1], 'h', head_text(), 'l', keep_lines())
    return {OTHER, text_of({now_us}), '', '', '', known_digest, redis.call('HGET', KEYS[1], 't')}
  end
  lines = defined_lines(lines)
  held_version, anchor_us, clock_us = held_version + 1, 0, now_us
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[1], 'd', digest, 't', definition_text, 'b', '')
end

-- `figures` holds the amounts for all lines, after `from`
local function give(figures, from)
  for i, line in ipairs(lines) do
    local amount = tonumber(figures[from + i])
    if line[RATE] ~= 0 then line[LEVEL] = min(line[CAPACITY], line[LEVEL] + amount) end
    line[SPENT] = (line[SPENT] - amount) % MODULUS
  end
end

-- a lease: process, at_us, before_us, amounts
local function give_back(lease)
  local parts = words(lease)
  if tonumber(parts[2]) == clock_us then
    clock_us = max(now_us, tonumber(parts[3]))
    for _, line in ipairs(lines) do
      local at = floor(clock_us / line[TICK])
      local gap, rate = line[AT] - at, line[RATE]
      if rate ~= 0 and gap > 0 then
        local most = 2 * line[CAPACITY]
        line[LEVEL] = line[LEVEL] - (gap >= ceil(most / rate) and most or gap * rate)
        line[AT] = at
      end
    end
  end
  give(parts, 3)
end

if presence ~= '' then redis.call('HSET', KEYS[2], process, text_of({now_us, presence})) end

if now_us >= sweep_at_us then
  local dead, alive = {}, {}
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local seen_us = tonumber(string.match(all[i + 1], '%S+'))
    if seen_us <= now_us - LEASE_US then
      dead[all[i]] = seen_us
      redis.call('HDEL', KEYS[2], all[i])
      redis.call('HDEL', KEYS[4], all[i])
    else
      alive[all[i]] = true
    end
  end
  local leases = redis.call('HGETALL', KEYS[3])
  local order = {}
  for i = 1, #leases, 2 do order[#order + 1] = {tonumber(leases[i]), leases[i], leases[i + 1]} end
  table.sort(order, function(a, b) return a[1] > b[1] end)
  for _, entry in ipairs(order) do
    local owner, at = string.match(entry[3], '(%S+) (%S+)')
    if not alive[owner] then
      redis.call('HDEL', KEYS[3], entry[2])
      if tonumber(at) > (dead[owner] or now_us) + BEAT_US then give_back(entry[3]) end
    end
  end
  sweep_at_us = now_us + SWEEP_US
end

local reply = redis.call('HGET', KEYS[4], process)
local grants = ''
if reply and tonumber(string.match(reply, '%S+')) == number then
  grants = string.match(reply, '^%S+ ?(.*)$')
else
  for lease in string.gmatch(sent, '%S+') do redis.call('HDEL', KEYS[3], lease) end

  if changes ~= '' then
    local list, n = words(changes)
    local width = 1 + #lines
    for first = 0, n - width, width do
      local lease = list[first + 1]
      if lease == '0' then
        give(list, first + 1)
      else
        local held = redis.call('HGET', KEYS[3], lease)
        if held then
          redis.call('HDEL', KEYS[3], lease)
          give_back(held)
        end
      end
    end
  end

  held_pause_us = max(held_pause_us, pause_until_us)

  -- a lesson: anchor_us, at_us, and for each line rate, capacity, level (or -), spent
  if lesson ~= '' then
    local told, n = words(lesson)
    local told_anchor_us = tonumber(told[1])
    if told_anchor_us > anchor_us and n == 2 + 4 * #lines then
      local at_us = min(tonumber(told[2]), max(now_us, clock_us))
      for i, line in ipairs(lines) do
        local first = 4 * i - 2
        local rate, capacity, level = tonumber(told[first + 1]), tonumber(told[first + 2]), tonumber(told[first + 3])
        if level then
          local at = line[AT]
          local next_line = {rate, line[TICK], capacity, min(level, capacity), floor(at_us / line[TICK])}
          if at > next_line[AT] then
            next_line[LEVEL] = level_at(next_line, at)
            line[AT] = at
          else
            line[AT] = next_line[AT]
          end
          local since = (line[SPENT] - tonumber(told[first + 4])) % MODULUS
          if since >= MODULUS / 2 then
            since = since - MODULUS
          end
          line[LEVEL] = next_line[LEVEL] - since
        elseif rate ~= 0 then
          local tick = floor(now_us / line[TICK])
          if line[RATE] == 0 then
            line[AT] = tick
          else
            line[LEVEL] = level_at(line, tick)
            line[AT] = max(line[AT], tick)
          end
        end
        line[RATE], line[CAPACITY] = rate, capacity
        line[LEVEL] = min(line[LEVEL], capacity)
      end
      anchor_us, held_version = told_anchor_us, held_version + 1
      redis.call('HSET', KEYS[1], 'b', lesson_text)
    end
  end

  -- calls: within_us, amounts
  if asks ~= '' then
    local list, n = words(asks)
    local width = 1 + #lines
    local granted = {}
    for first = 0, n - width, width do
      local figures = {}
      for i = 1, #lines do figures[i] = tonumber(list[first + 1 + i]) end
      local within_us = tonumber(list[first + 1])
      local at_us = max(now_us, clock_us, held_pause_us)
      for i, line in ipairs(lines) do
        local rate = line[RATE]
        if rate ~= 0 then
          local tick = floor(at_us / line[TICK])
          local lack = min(figures[i], line[CAPACITY]) - level_at(line, tick)
          if lack > 0 then
            at_us = max(at_us, (max(tick, line[AT]) + ceil(lack / rate)) * line[TICK])
          end
        end
      end
      if within_us >= 0 and at_us - now_us > within_us then
        granted[#granted + 1] = text_of({-1, at_us - now_us, 0})
      else
        for i, line in ipairs(lines) do
          if line[RATE] ~= 0 then
            local tick = floor(at_us / line[TICK])
            line[LEVEL] = level_at(line, tick) - figures[i]
            line[AT] = max(line[AT], tick)
          end
          line[SPENT] = (line[SPENT] + figures[i]) % MODULUS
        end
        local lease = 0
        local waits = at_us - now_us > ahead_us
        if waits then
          leases_made = leases_made + 1
          lease = leases_made
          redis.call('HSET', KEYS[3], text_of({lease}), text_of({process, at_us, clock_us, unpack(figures)}))
        end
        clock_us = at_us
        granted[#granted + 1] = text_of({at_us, at_us - now_us, lease})
        if waits then break end
      end
    end
    grants = table.concat(granted, ' ')
  end
  redis.call('HSET', KEYS[4], process, text_of({number}) .. ' ' .. grants)
end

local kept_lines = keep_lines()
redis.call('HSET', KEYS[1], 'h', head_text(), 'l', kept_lines)
if presence ~= '' or definition ~= '' or held_pause_us > now_us then
  -- what waits or pauses longer than anybody usually comes by is kept for as long as it takes
  local still_ms = string.format('%.0f', keep_ms + max(0, ceil((max(clock_us, held_pause_us) - now_us) / 1000)))
  for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], still_ms) end
end

local told = ''
if held_version ~= version then told = redis.call('HGET', KEYS[1], 'b') end
local answer = {now_us, clock_us, held_version, held_pause_us, redis.call('HLEN', KEYS[2])}
return {READY, text_of(answer), kept_lines, grants, told}
