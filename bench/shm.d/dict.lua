-- The load of dict.c on a lua_shared_dict, in each worker of an nginx.
-- Globals from the configuration: bench_folder, bench_n, bench_ms, bench_keys.
local ffi = require "ffi"
ffi.cdef [[
struct bench_time { long s; long ns; };
int clock_gettime(int which, struct bench_time *time);
]]

local n_keys, slice = bench_keys, 1000
local dict, sync = ngx.shared.bench, ngx.shared.sync
local time = ffi.new("struct bench_time")
local keys, misses = {}, {}
local value = string.rep("v", 64)
local at = math.floor(ngx.worker.id() * n_keys / bench_n)

local function now_ns()
    ffi.C.clock_gettime(1, time)
    return tonumber(time.s) * 1e9 + tonumber(time.ns)
end

local function any()
    at = at < n_keys and at + 1 or 1
    return at
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
        for i = 1, n_keys do dict:set(string.format("key-%012d", i), what) end
    end
end

-- In no order, but each at hand when its turn comes.
local numbers = {}
math.randomseed(12345)
for i = 1, n_keys do
    local k = math.random(i)
    numbers[i] = numbers[k]
    numbers[k] = i
end
for i = 1, n_keys do keys[i] = string.format("key-%012d", numbers[i]) end
for i = 1, n_keys do misses[i] = string.format("not-%012d", numbers[i]) end
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
