-- The load of dict.c on a lua_shared_dict, in each worker of an nginx.
-- Globals from the configuration: bench_folder, bench_n, bench_ms.
local ffi = require "ffi"
ffi.cdef [[
struct bench_time { long s; long ns; };
int clock_gettime(int which, struct bench_time *time);
]]

local n_keys, slice = 100000, 1000
local dict, sync = ngx.shared.bench, ngx.shared.sync
local time = ffi.new("struct bench_time")
local keys, misses = {}, {}
local value = string.rep("v", 64)
local seed = 12345 + ngx.worker.id()

local function now_ns()
    ffi.C.clock_gettime(1, time)
    return tonumber(time.s) * 1e9 + tonumber(time.ns)
end

local function any()
    seed = bit.bxor(seed, bit.lshift(seed, 13))
    seed = bit.bxor(seed, bit.rshift(seed, 17))
    seed = bit.bxor(seed, bit.lshift(seed, 5))
    return bit.band(seed, 0x7fffffff) % n_keys + 1
end

-- Waits until all workers have come as often.
local function meet(name)
    sync:incr(name, 1, 0)
    while sync:get(name) < bench_n do
        -- Spins: there is no event loop yet.
    end
end

local operations = {
    get = function()
        for _ = 1, slice do
            if not dict:get(keys[any()]) then error("a key is missing") end
        end
    end,
    miss = function()
        for _ = 1, slice do
            if dict:get(misses[any()]) then error("a key too many") end
        end
    end,
    set = function()
        for _ = 1, slice do dict:set(keys[any()], value) end
    end,
    incr = function()
        for _ = 1, slice do dict:incr(keys[any()], 1) end
    end,
}

local function measure(operation)
    local took = {}
    local begin = now_ns() + bench_ms * 2e5
    local finish = begin + bench_ms * 1e6
    local now = now_ns()
    while now < finish or #took < 5 do
        local before = now
        operation()
        now = now_ns()
        if before >= begin then took[#took + 1] = now - before end
    end
    table.sort(took)
    return took[math.floor(#took / 2) + 1] / slice
end

local function fill(what)
    if ngx.worker.id() == 0 then
        for i = 1, n_keys do dict:set(keys[i], what) end
    end
end

for i = 1, n_keys do
    keys[i] = string.format("key-%012d", i)
    misses[i] = string.format("not-%012d", i)
end
local results = {}
fill(value)
for i, name in ipairs { "get", "miss", "set", "incr" } do
    if name == "incr" then
        meet("filling")
        fill(0)
    end
    meet(name)
    results[i] = string.format('"%s": %.3f', name, measure(operations[name]))
end
local path = bench_folder .. "/result" .. ngx.worker.id()
local file = io.open(path .. ".new", "w")
file:write("{" .. table.concat(results, ", ") .. "}")
file:close()
os.rename(path .. ".new", path)
