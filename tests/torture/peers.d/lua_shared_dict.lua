-- The load of load.c on a lua_shared_dict, in each worker of an nginx.
-- Globals from the configuration: peers_folder, peers_seed.
local ffi = require "ffi"
ffi.cdef [[
struct peers_place {
    uint64_t pid, n_operations, n_refused, has_done, rest[4];
};
struct peers_board {
    uint64_t request, rest[7];
    struct peers_place places[8];
};
int open(const char *path, int flags, ...);
void *mmap(void *at, size_t n, int protection, int flags, int fd, long from);
int poll(void *descriptors, unsigned long n, int ms);
int prctl(int option, ...);
]]
local batch, n_values, n_numbers, n_lists, list_max = 10, 2000, 64, 16, 16
local text_bytes = 8192
local dict, number = ngx.shared.peers, ngx.worker.id()
local random = math.random

local function wrong(...)
    local file = io.open(peers_folder .. "/wrong", "a")
    file:write(string.format(...), "\n")
    file:close()
    while true do ffi.C.poll(nil, 0, 1000) end
end

-- The end of the parent is that of its workers: PR_SET_PDEATHSIG, SIGKILL.
ffi.C.prctl(1, ffi.cast("unsigned long", 9))
-- O_RDWR; PROT_READ | PROT_WRITE, MAP_SHARED.
local fd = ffi.C.open(peers_folder .. "/board", 2)
local board = ffi.cast("struct peers_board *",
    ffi.C.mmap(nil, ffi.sizeof("struct peers_board"), 3, 1, fd, 0))
local place = board.places[number]

math.randomseed(peers_seed * 8 + number + tonumber(place.n_operations) * 97)
local letters = {}
for i = 1, text_bytes do letters[i] = string.char(96 + random(26)) end
local text = table.concat(letters)

local function make_value(key, longest)
    local n = random(longest)
    local from = random(text_bytes - n)
    local body = text:sub(from, from + n - 1)
    return string.format("%s %08x %s", key, ngx.crc32_long(key .. body), body)
end

local function check_value(key, value)
    local n = #key
    if type(value) ~= "string" or value:sub(1, n + 1) ~= key .. " " then
        wrong("corrupt value: %s has %s", key, tostring(value):sub(1, 20))
    end
    local sum = ngx.crc32_long(key .. value:sub(n + 11))
    if tonumber(value:sub(n + 2, n + 9), 16) ~= sum then
        wrong("corrupt value: the checksum of %s, %d bytes, is wrong", key,
            #value)
    end
end

local function note(call, done, problem)
    if not done then
        if problem ~= "no memory" then wrong("%s: %s", call, problem) end
        place.n_refused = place.n_refused + 1
    end
    return done
end

local function get(key)
    local value, problem = dict:get(key)
    if value then
        check_value(key, value)
    elseif type(problem) == "string" then
        wrong("get: %s", problem)
    end
end

local function use_list()
    local key = string.format("l%04u", random(n_lists) - 1)
    if random(2) == 1 then
        local n = note("lpush", dict:lpush(key, make_value(key, 300)))
        if not n or n <= list_max then return end
    end
    local value, problem = dict:rpop(key)
    if value then
        check_value(key, value)
    elseif problem then
        wrong("rpop: %s", problem)
    end
end

local function operate()
    local kind = random(100) - 1
    local key = string.format("v%04u", random(n_values) - 1)
    if kind < 30 then
        get(key)
    elseif kind < 65 then
        note("set", dict:set(key, make_value(key, 3000)))
    elseif kind < 80 then
        dict:delete(key)
    elseif kind < 90 then
        key = string.format("n%04u", random(n_numbers) - 1)
        local sum = note("incr", dict:incr(key, 1, 0))
        if sum and (type(sum) ~= "number" or sum < 1) then
            wrong("corrupt value: %s is %s", key, tostring(sum))
        end
    else
        use_list()
    end
end

local function audit()
    for _, key in ipairs(dict:get_keys(0)) do
        local kind = key:sub(1, 1)
        if kind == "l" then
            if (dict:llen(key) or 0) < 1 then
                wrong("corrupt list: %s", key)
            end
        elseif kind == "v" then
            check_value(key, dict:get(key))
        elseif kind ~= "n" then
            wrong("corrupt key: %s", key:sub(1, 20))
        end
    end
end

local function answer_request()
    while board.request ~= 0 do
        local request = board.request
        if request ~= place.has_done then
            if request % 2 == 1 and number == 0 then audit() end
            place.has_done = request
        end
        ffi.C.poll(nil, 0, 1)
    end
end

place.has_done = 0
place.pid = ngx.worker.pid()
while true do
    answer_request()
    for _ = 1, batch do operate() end
    place.n_operations = place.n_operations + batch
end
