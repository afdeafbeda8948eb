-- GETs over a file of names, 64 hexadecimal digits a line, already in random order.
--
-- BENCH_PATH     the path; {key} stands for the name, {ab} for its first two digits
-- BENCH_KEYS     the file
-- BENCH_ORDER    loop: round and round, each thread from another place
--                once: every name once, split among the threads; then the run ends
-- BENCH_THREADS  how many threads wrk runs
local common = dofile(os.getenv("BENCH_DIR") .. "/common.lua")
local ffi = require("ffi")

local LINE = 65
local text, bytes, key_offsets, folder_offsets
local keys, key_bytes, count, at, step
local once, finished

function init()
    local threads = tonumber(common.environment("BENCH_THREADS"))
    keys = common.read_file(common.environment("BENCH_KEYS"))
    count = math.floor(#keys / LINE)
    assert(count > threads and keys:byte(LINE) == 10, "the file of names is too short or malformed")
    key_bytes = common.bytes(keys)
    once = common.environment("BENCH_ORDER", "loop") == "once"
    if once then
        at, step = thread_id, threads
    else
        at, step = math.floor(count / threads) * thread_id, 1
    end
    text = "GET " .. common.environment("BENCH_PATH") .. " HTTP/1.1\r\nHost: " .. common.host() .. "\r\n\r\n"
    -- The longer mark last would move the offsets of the shorter: {ab} stands before {key}.
    text, folder_offsets = common.place(text, "ab", 2)
    text, key_offsets = common.place(text, "key", 64)
    bytes = common.bytes(text)
end

function request()
    local key = key_bytes + at * LINE
    for i = 1, #folder_offsets do
        ffi.copy(bytes + folder_offsets[i], key, 2)
    end
    for i = 1, #key_offsets do
        ffi.copy(bytes + key_offsets[i], key, 64)
    end
    at = at + step
    if at >= count then
        at = at - count
        if once and not finished then
            finished = true
            common.stop()
        end
    end
    return text
end
