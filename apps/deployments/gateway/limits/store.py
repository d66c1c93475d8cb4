"""The counters in Redis: three atomic steps. Redis' clock decides which window it is, never a process'."""

import contextlib
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

PREFIX = "modelyard:limit:"
TIMEOUT = 1.0  # seconds that one step may take

NOW = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
"""
TAKE = (
    NOW
    + """
-- All that is needed, or nothing: per counter its key, limit, need, wish, and the beginnings of the windows around now.
local fields, out, kept = 4, {}, {}
local at, refused = 1, false
for i, key in ipairs(KEYS) do
  local limit, need, wish = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local count = tonumber(ARGV[at + 3])
  local first, last = -1, -1
  for n = 1, count - 1 do
    local from, to = tonumber(ARGV[at + fields + n - 1]), tonumber(ARGV[at + fields + n])
    if now >= from and now < to then first, last = from, to end
  end
  if count == 0 then first = now - now % 60; last = first + 60 end
  if first < 0 then return {'clock', tostring(now)} end
  local name = key .. ':' .. string.format('%d', first)
  local used = tonumber(redis.call('GET', name) or '0')
  local room = limit - used
  if room < need then refused = true end
  -- Near the end everybody gets what is needed only, so that no lease keeps another process waiting.
  local grant = need
  if room > limit / 8 then grant = math.max(need, math.min(wish, math.floor(room / 2))) end
  kept[i] = {name, grant, last}
  out[#out + 1] = string.format('%d', first)
  out[#out + 1] = tostring(last - now)
  out[#out + 1] = string.format('%d', math.max(room, 0))
  out[#out + 1] = string.format('%d', grant)
  at = at + fields + count
end
if refused then table.insert(out, 1, 'refused') return out end
for _, each in ipairs(kept) do
  if each[2] ~= 0 then
    redis.call('INCRBY', each[1], string.format('%d', each[2]))
    redis.call('EXPIREAT', each[1], string.format('%d', each[3] + 3600))
  end
end
table.insert(out, 1, 'granted')
return out
"""
)
SETTLE = (
    NOW
    + """
-- A lease that wasn't used goes back to its own window; what was used beyond one is counted in this window.
local at = 1
for i, key in ipairs(KEYS) do
  local window, amount, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if amount < 0 then
    local name = key .. ':' .. window
    if redis.call('EXISTS', name) == 1 then redis.call('INCRBY', name, string.format('%d', amount)) end
  else
    local first, last = now - now % 60, now - now % 60 + 60
    for n = 1, count - 1 do
      local from, to = tonumber(ARGV[at + 2 + n]), tonumber(ARGV[at + 3 + n])
      if now >= from and now < to then first, last = from, to end
    end
    local name = key .. ':' .. string.format('%d', first)
    redis.call('INCRBY', name, string.format('%d', amount))
    redis.call('EXPIREAT', name, string.format('%d', last + 3600))
  end
  at = at + 3 + count
end
return 'ok'
"""
)
HOLD = (
    NOW
    + """
-- Places for requests at once. Each process says how many it has and wants; it is forgotten soon after it falls silent.
local me, seconds = ARGV[1], tonumber(ARGV[2])
local out = {}
for i, key in ipairs(KEYS) do
  local limit, used = tonumber(ARGV[i * 4 - 1]), tonumber(ARGV[i * 4])
  local least, wish = tonumber(ARGV[i * 4 + 1]), tonumber(ARGV[i * 4 + 2])
  local others = 0
  local all = redis.call('HGETALL', key)
  for n = 1, #all, 2 do
    if all[n] ~= me then
      local held, till = string.match(all[n + 1], '^(%d+):([%d.]+)$')
      if tonumber(till) < now then redis.call('HDEL', key, all[n]) else others = others + tonumber(held) end
    end
  end
  local room = limit - others
  local held = math.max(math.min(wish, room), 0)
  if room - wish < limit / 8 then held = math.max(math.min(least, room), 0) end
  held = math.max(held, used)
  if held > 0 then
    redis.call('HSET', key, me, string.format('%d:%.3f', held, now + seconds))
    redis.call('EXPIRE', key, math.ceil(seconds * 2))
  else
    redis.call('HDEL', key, me)
  end
  out[i] = held
end
return out
"""
)


class Away(Exception):
    """Redis doesn't answer."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What Redis says of one counter: its window (beginning, in seconds since the epoch), seconds left of it, how much
    room there was, and how much of it was granted (0 if anything was refused)."""

    window: int
    seconds: float
    room: int
    granted: int


class Wrong(Exception):
    """Redis' clock is outside of the windows that were sent; `now` is its time."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.now = now


class Store:
    """The three steps, over one kept connection of this process."""

    def __init__(self) -> None:
        self.client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_timeout=TIMEOUT)
        self._take = self.client.register_script(TAKE)
        self._settle = self.client.register_script(SETTLE)
        self._hold = self.client.register_script(HOLD)

    async def take(self, wanted: list[tuple[str, int, int, int, tuple[int, ...]]]) -> tuple[bool, list[Taken]]:
        """For (name, limit, need, wish, windows): whether everything that is needed was granted, and what is so."""
        args: list[float] = []
        for _, limit, need, wish, windows in wanted:
            args += [limit, need, wish, len(windows), *windows]
        answer = await self._run(self._take, [PREFIX + each[0] for each in wanted], args)
        said = [part.decode() if isinstance(part, bytes) else str(part) for part in answer]
        if said[0] == "clock":
            raise Wrong(float(said[1]))
        granted = said[0] == "granted"
        rows = [said[at : at + 4] for at in range(1, len(said), 4)]
        return granted, [Taken(int(a), float(b), int(c), int(d) if granted else 0) for a, b, c, d in rows]

    async def settle(self, changes: list[tuple[str, int, int, tuple[int, ...]]]) -> None:
        """For (name, window, amount, windows): give back (negative) to that window, or count (positive) in this one."""
        args: list[float] = []
        for _, window, amount, windows in changes:
            args += [window, amount, len(windows), *windows]
        await self._run(self._settle, [PREFIX + each[0] for each in changes], args)

    async def hold(self, me: str, seconds: float, wanted: list[tuple[str, int, int, int, int]]) -> list[int]:
        """For (name, limit, used, least, wish): how many places this process has from now on, at least those used."""
        args: list[Any] = [me, seconds]
        for _, limit, used, least, wish in wanted:
            args += [limit, used, least, wish]
        return [int(held) for held in await self._run(self._hold, [PREFIX + each[0] for each in wanted], args)]

    async def _run(self, script: Any, keys: list[str], args: list[Any]) -> Any:
        try:
            return await script(keys=keys, args=args)
        except (RedisError, OSError) as error:
            raise Away(str(error)) from None

    async def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(RedisError, OSError):
            await self.client.aclose()
