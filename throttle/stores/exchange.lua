-- One exchange of a process with the state of a pool: the second writing of transition.py, which is the definition.
-- Read that first. Names are the same here; the conformance suite holds both together, number by number.
--
-- All figures are whole and below 2^53, so that doubles are exact; quotients are taken of figures whose sum is, so that
-- floor and ceil are exact too. They come, are kept and go as packed doubles: reading and writing them as text took
-- four times as long as all the arithmetic.
--
-- KEYS: 1 the state, 2 processes, 3 leases; all in one hash slot. Of the state, h is the head, l the lines (six figures
-- each), d the definition's digest, t its text, b the lesson's, r:PROCESS the last reply to a process, n who holds how many
-- places, q who is in line for one, until when, and by which bell it is called ("-": by none).

local MODULUS, LEASE_US, BEAT_US, SWEEP_US, BACK_US = 1125899906842624, 10000000, 3000000, 1000000, 1000000
local FORGET_US, PLACE_US, LINE_US, DEAD_MOST = 600000000, 1000000, 5000000, 256
local READY, WANTED, OTHER, DATED = 0, 1, 2, -1
local RATE, TICK, CAPACITY, LEVEL, AT, SPENT, EACH = 1, 2, 3, 4, 5, 6, 6
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max

local function numbers(text)
  local n = #text / 8
  local list = {struct.unpack('<' .. string.rep('d', n), text)}
  list[n + 1] = nil -- where reading ended
  return list, n
end

local function pack(list, n)
  return struct.pack('<' .. string.rep('d', n), unpack(list, 1, n))
end

local process, digest, presence, lesson_text, definition_text = ARGV[1], ARGV[2], ARGV[4], ARGV[5], ARGV[6]
local bell = ARGV[7]
local brought = numbers(ARGV[3])
local number, version, ahead_us, keep_ms, pause_until_us, now_us = unpack(brought, 1, 6)
local width, sent, changes, asks, told_lines, defined, places, holds, leaves, resets = unpack(brought, 7, 16)
-- what comes before each part
local resets_from = 16
local sent_from = resets_from + resets
local changes_from = sent_from + sent * (1 + width)
local asks_from = changes_from + changes * (1 + width)
local lesson_from = asks_from + asks * (1 + width)
local defined_from = lesson_from + (told_lines > 0 and 2 + 5 * told_lines or 0)
if now_us < 0 then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
end

local lines, last -- and what comes before the last of them

local function level_at(line, tick)
  local gap, level, rate = tick - lines[line + AT], lines[line + LEVEL], lines[line + RATE]
  if gap <= 0 or rate <= 0 then return level end
  local capacity = lines[line + CAPACITY]
  if gap >= ceil((capacity - level) / rate) then return capacity end
  return level + gap * rate
end

local function define()
  local list = {}
  for i = 0, defined - 1 do
    local rate, tick, capacity, level = unpack(brought, defined_from + 4 * i + 1, defined_from + 4 * i + 4)
    local line = EACH * i
    if lines and line <= last then
      local part = floor(level_at(line, floor(now_us / lines[line + TICK])) / max(1, floor(lines[line + CAPACITY] / 1000)))
      level = min(capacity, min(1000, max(-1000, part)) * floor(capacity / 1000))
    end
    list[line + RATE], list[line + TICK], list[line + CAPACITY] = rate, tick, capacity
    list[line + LEVEL], list[line + AT], list[line + SPENT] = level, floor(now_us / tick), 0
  end
  lines, last = list, EACH * (defined - 1)
end

-- a list of processes, each with a figure and a word, in order
local function list_of(text)
  local list = {}
  for name, figure, word in string.gmatch(text or '', '(%S+) (%S+) (%S+)') do
    list[#list + 1] = {name, tonumber(figure), word}
  end
  return list
end

local function text_of(list)
  local words = {}
  for i, entry in ipairs(list) do words[i] = string.format('%s %.0f %s', entry[1], entry[2], entry[3]) end
  return table.concat(words, ' ')
end

local stored = redis.call('HMGET', KEYS[1], 'h', 'l', 'd', 'r:' .. process, 'n', 'q')
local known_digest, reply, holders, in_line = stored[3], stored[4], stored[5], stored[6]
local clock_us, held_version, anchor_us, held_pause_us, leases_made, sweep_at_us, processes

if not stored[1] then
  if defined == 0 then return pack({WANTED, now_us}, 2) end
  clock_us, held_version, anchor_us, held_pause_us, leases_made, sweep_at_us, processes = now_us, 0, 0, 0, 0, 0, 0
  define()
  known_digest = digest
  redis.call('HSET', KEYS[1], 'd', digest, 't', definition_text, 'b', '')
else
  local state_now_us
  state_now_us, clock_us, held_version, anchor_us, held_pause_us, leases_made, sweep_at_us, processes =
    struct.unpack('<dddddddd', stored[1])
  local n
  lines, n = numbers(stored[2])
  last = n - EACH
  local back_us = state_now_us - now_us
  if back_us > 0 and back_us <= BACK_US then
    now_us = state_now_us
  elseif back_us > BACK_US then
    clock_us, held_pause_us = clock_us - back_us, max(0, held_pause_us - back_us)
    anchor_us, sweep_at_us, processes = min(anchor_us, now_us), now_us, 0
    for line = 0, last, EACH do
      if lines[line + RATE] ~= DATED then lines[line + AT] = floor(now_us / lines[line + TICK]) end
    end
    redis.call('DEL', KEYS[2], KEYS[3])
    if in_line then redis.call('HDEL', KEYS[1], 'q') end
    in_line = nil
  end
end

local function head()
  return struct.pack(
    '<dddddddd', now_us, clock_us, held_version, anchor_us, held_pause_us, leases_made, sweep_at_us, processes
  )
end

if known_digest ~= digest then
  if defined == 0 then
    redis.call('HSET', KEYS[1], 'h', head(), 'l', pack(lines, last + EACH))
    return {pack({OTHER, now_us}, 2), known_digest, redis.call('HGET', KEYS[1], 't')}
  end
  define()
  held_version, anchor_us, clock_us = held_version + 1, 0, now_us
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[1], 'd', digest, 't', definition_text, 'b', '')
end

-- `figures` holds the amounts for all lines, after `from`
local function give(figures, from)
  for line = 0, last, EACH do
    from = from + 1
    local amount = figures[from]
    if lines[line + RATE] ~= 0 then
      lines[line + LEVEL] = min(lines[line + CAPACITY], lines[line + LEVEL] + amount)
    end
    lines[line + SPENT] = (lines[line + SPENT] - amount) % MODULUS
  end
end

-- a lease: at_us, before_us, amounts, then whose it is
local function lease_of(text)
  local n = 2 + last / EACH + 1
  return numbers(string.sub(text, 1, 8 * n)), string.sub(text, 8 * n + 1)
end

local function give_back(lease)
  if lease[1] == clock_us then
    clock_us = max(now_us, lease[2])
    for line = 0, last, EACH do
      local at = floor(clock_us / lines[line + TICK])
      local gap, rate = lines[line + AT] - at, lines[line + RATE]
      if rate > 0 and gap > 0 then
        local most = 2 * lines[line + CAPACITY]
        lines[line + LEVEL] = lines[line + LEVEL] - (gap >= ceil(most / rate) and most or gap * rate)
        lines[line + AT] = at
      end
    end
  end
  give(lease, 2)
end

if presence ~= '' then
  local seen = redis.call('HGET', KEYS[2], process)
  -- not counted when they last were
  local is_new = (seen and tonumber(string.match(seen, '%S+')) or 0) <= sweep_at_us - SWEEP_US - LEASE_US
  if is_new then processes = processes + 1 end
  redis.call('HSET', KEYS[2], process, string.format('%.0f %s', now_us, presence))
end

if now_us >= sweep_at_us then
  local dead, alive, forgotten, latest = {}, {}, {}, {}
  local all = redis.call('HGETALL', KEYS[2])
  processes = 0
  for i = 1, #all, 2 do
    local seen_us = tonumber(string.match(all[i + 1], '%S+'))
    if seen_us <= now_us - LEASE_US then
      dead[all[i]] = seen_us
      latest[#latest + 1] = {seen_us, all[i]}
    else
      alive[all[i]] = true
      processes = processes + 1
    end
  end
  table.sort(latest, function(a, b) return a[1] > b[1] or (a[1] == b[1] and a[2] < b[2]) end)
  for i, entry in ipairs(latest) do
    if i > DEAD_MOST or entry[1] <= now_us - FORGET_US then
      forgotten[entry[2]] = true
      redis.call('HDEL', KEYS[2], entry[2])
      redis.call('HDEL', KEYS[1], 'r:' .. entry[2])
      if entry[2] == process then reply = false end
    end
  end
  if holders then
    local still = {}
    for _, entry in ipairs(list_of(holders)) do
      if alive[entry[1]] then still[#still + 1] = entry end
    end
    holders = text_of(still)
    redis.call('HSET', KEYS[1], 'n', holders)
  end
  local leases = redis.call('HGETALL', KEYS[3])
  local order = {}
  for i = 1, #leases, 2 do order[#order + 1] = {tonumber(leases[i]), leases[i], leases[i + 1]} end
  table.sort(order, function(a, b) return a[1] > b[1] end)
  for _, entry in ipairs(order) do
    local lease, owner = lease_of(entry[3])
    if not alive[owner] then
      local lapses = lease[1] > (dead[owner] or now_us) + BEAT_US
      -- one that stays charged is kept as long as its process may come back and tell of it
      if lapses or forgotten[owner] or not dead[owner] then redis.call('HDEL', KEYS[3], entry[2]) end
      if lapses then give_back(lease) end
    end
  end
  sweep_at_us = now_us + SWEEP_US
end

local grants, full, called, has_left = '', 0, {}, false
if reply and struct.unpack('<d', reply) == number then
  grants = string.sub(reply, 9)
else
  for from = sent_from + 1, changes_from, 1 + width do
    if redis.call('HDEL', KEYS[3], string.format('%.0f', brought[from])) == 0 then
      local amounts = {}
      for i = 1, width do amounts[i] = -brought[from + i] end
      give(amounts, 0)
    end
  end

  local dated = 0
  for line = 0, resets > 0 and last or -1, EACH do
    if lines[line + RATE] == DATED then
      dated = dated + 1
      local number = dated <= resets and brought[resets_from + dated] or 0
      if number > lines[line + AT] then
        local level = lines[line + CAPACITY]
        for _, text in ipairs(redis.call('HVALS', KEYS[3])) do
          level = level - lease_of(text)[2 + line / EACH + 1]
        end
        lines[line + LEVEL], lines[line + AT] = level, number
      end
    end
  end

  for from = changes_from + 1, asks_from, 1 + width do
    if brought[from] == 0 then
      give(brought, from)
    else
      local name = string.format('%.0f', brought[from])
      local held = redis.call('HGET', KEYS[3], name)
      if held then
        redis.call('HDEL', KEYS[3], name)
        give_back((lease_of(held)))
      end
    end
  end

  held_pause_us = max(held_pause_us, pause_until_us)

  -- a lesson: anchor_us, at_us, and for each line rate, capacity, whether a level is told, level, spent
  local told_anchor_us = brought[lesson_from + 1]
  if told_lines > 0 and told_anchor_us > anchor_us and EACH * (told_lines - 1) == last then
    local at_us = min(brought[lesson_from + 2], max(now_us, clock_us))
    local from = lesson_from + 2
    for line = 0, last, EACH do
      local rate, capacity, is_told, level, spent = unpack(brought, from + 1, from + 5)
      from = from + 5
      if lines[line + RATE] == DATED then
        rate, capacity = DATED, lines[line + CAPACITY]
      elseif is_told == 1 then
        local at, then_at = lines[line + AT], floor(at_us / lines[line + TICK])
        local since = (lines[line + SPENT] - spent) % MODULUS
        if since >= MODULUS / 2 then since = since - MODULUS end
        lines[line + RATE], lines[line + CAPACITY] = rate, capacity
        lines[line + LEVEL], lines[line + AT] = min(level, capacity), then_at
        if at > then_at then
          lines[line + LEVEL] = level_at(line, at)
          lines[line + AT] = at
        end
        lines[line + LEVEL] = lines[line + LEVEL] - since
      elseif rate ~= 0 then
        local tick = floor(now_us / lines[line + TICK])
        if lines[line + RATE] == 0 then
          lines[line + AT] = tick
        else
          lines[line + LEVEL] = level_at(line, tick)
          lines[line + AT] = max(lines[line + AT], tick)
        end
      end
      lines[line + RATE], lines[line + CAPACITY] = rate, capacity
      lines[line + LEVEL] = min(lines[line + LEVEL], capacity)
    end
    anchor_us, held_version = told_anchor_us, held_version + 1
    redis.call('HSET', KEYS[1], 'b', lesson_text)
  end

  -- places: those of others, and who of them is in line before this one
  local free, taken, others, before, after, was_in_line, waits_for_place = asks, 0, {}, {}, {}, false, false
  if places > 0 then
    free = places - holds
    for _, entry in ipairs(list_of(holders)) do
      if entry[1] ~= process then
        others[#others + 1] = entry
        free = free - entry[2]
      end
    end
    for _, entry in ipairs(list_of(in_line)) do
      if entry[2] > now_us then
        if entry[1] == process then
          was_in_line = true
        elseif was_in_line then
          after[#after + 1] = entry
        else
          before[#before + 1] = entry
        end
      end
    end
    free = free - #before
  end

  -- calls: within_us, amounts
  local granted, n = {}, 0
  for from = asks_from + 1, lesson_from, 1 + width do
    if taken >= free then
      full = 1
      for behind = from, lesson_from, 1 + width do
        if brought[behind] ~= 0 then waits_for_place = true end
      end
      break
    end
    local within_us = brought[from]
    local at_us = max(now_us, clock_us, held_pause_us)
    local i, is_dry = from, false
    for line = 0, last, EACH do
      i = i + 1
      if lines[line + RATE] == DATED and min(brought[i], lines[line + CAPACITY]) > lines[line + LEVEL] then
        is_dry = true
      end
    end
    if is_dry then break end
    i = from
    for line = 0, last, EACH do
      i = i + 1
      local rate = lines[line + RATE]
      if rate > 0 then
        local tick_us = lines[line + TICK]
        local tick = floor(at_us / tick_us)
        local lack = min(brought[i], lines[line + CAPACITY]) - level_at(line, tick)
        if lack > 0 then
          at_us = max(at_us, (max(tick, lines[line + AT]) + ceil(lack / rate)) * tick_us)
        end
      end
    end
    local wait_us = at_us - now_us
    if within_us >= 0 and wait_us > within_us then
      granted[n + 1], granted[n + 2], granted[n + 3] = -1, wait_us, 0
      n = n + 3
    else
      i = from
      for line = 0, last, EACH do
        i = i + 1
        if lines[line + RATE] > 0 then
          local tick = floor(at_us / lines[line + TICK])
          lines[line + LEVEL] = level_at(line, tick) - brought[i]
          lines[line + AT] = max(lines[line + AT], tick)
        elseif lines[line + RATE] == DATED then
          lines[line + LEVEL] = lines[line + LEVEL] - brought[i]
        end
        lines[line + SPENT] = (lines[line + SPENT] + brought[i]) % MODULUS
      end
      local lease = 0
      local waits = wait_us > ahead_us
      if waits then
        leases_made = leases_made + 1
        lease = leases_made
        local text = struct.pack('<dd', at_us, clock_us) .. pack({unpack(brought, from + 1, from + width)}, width)
        redis.call('HSET', KEYS[3], string.format('%.0f', lease), text .. process)
      end
      clock_us = at_us
      granted[n + 1], granted[n + 2], granted[n + 3] = at_us, wait_us, lease
      n = n + 3
      taken = taken + 1
      if waits then break end
    end
  end
  grants = pack(granted, n)

  if places > 0 then
    if leaves == 0 then
      others[#others + 1] = {process, holds + taken, '-'}
      free = free + #before - taken
    else
      free = free + #before + holds
      waits_for_place = false
    end
    local entry = {process, now_us + PLACE_US, '-'}
    if bell ~= '' then entry = {process, now_us + LINE_US, bell} end
    local keeps = waits_for_place and was_in_line and taken == 0
    if keeps then before[#before + 1] = entry end
    for _, other in ipairs(after) do before[#before + 1] = other end
    if waits_for_place and not keeps then before[#before + 1] = entry end
    for i = 1, min(#before, free) do
      if before[i][3] ~= '-' then
        called[#called + 1] = before[i][3]
        before[i] = {before[i][1], now_us + PLACE_US, '-'}
      end
    end
    redis.call('HSET', KEYS[1], 'n', text_of(others), 'q', text_of(before))
  end

  if leaves == 1 then
    local seen = redis.call('HGET', KEYS[2], process)
    if seen and tonumber(string.match(seen, '%S+')) > sweep_at_us - SWEEP_US - LEASE_US then
      processes = processes - 1
    end
    redis.call('HDEL', KEYS[2], process)
    has_left = true
    if places == 0 then -- else that is done above
      for field, text in pairs({n = holders or '', q = in_line or ''}) do
        local kept = {}
        for _, entry in ipairs(list_of(text)) do
          if entry[1] ~= process then kept[#kept + 1] = entry end
        end
        redis.call('HSET', KEYS[1], field, text_of(kept))
      end
    end
  end
end

local kept_lines = pack(lines, last + EACH)
redis.call('HSET', KEYS[1], 'h', head(), 'l', kept_lines, 'r:' .. process, struct.pack('<d', number) .. grants)
if has_left then redis.call('HDEL', KEYS[1], 'r:' .. process) end
if presence ~= '' or defined > 0 or held_pause_us > now_us then
  -- what waits or pauses longer than anybody usually comes by is kept for as long as it takes
  local still_ms = keep_ms + max(0, ceil((max(clock_us, held_pause_us) - now_us) / 1000))
  for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], string.format('%.0f', still_ms)) end
end

local answer = struct.pack(
  '<dddddddd', READY, now_us, clock_us, held_version, held_pause_us, processes, full, #grants / 24
) .. grants .. kept_lines
if #called == 0 and held_version == version then return answer end
local lesson = held_version ~= version and redis.call('HGET', KEYS[1], 'b') or ''
return {answer, lesson, table.concat(called, ' ')}
