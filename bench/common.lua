-- What get.lua and put.lua share: a request that is changed in place, and the report.
--
-- wrk asks request() for a string before each request and copies it. Building a new string of a
-- mebibyte each time would measure Lua, so every thread has one request string and writes the few
-- bytes that differ straight into it (LuaJIT's ffi). The string's hash no longer fits its bytes,
-- which is harmless: nothing looks it up. Every contestant is loaded through the same code.
local ffi = require("ffi")
ffi.cdef([[int kill(int pid, int signal); int getpid(void);]])

local common = {}
local SIGINT = 2

function common.environment(name, default)
    local value = os.getenv(name) or default
    if value == nil then
        error(name .. " is not set: these scripts are called by bench/run.sh", 0)
    end
    return value
end

function common.read_file(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

-- A request template, in which {mark} stands for `size` bytes: the text and where those bytes are.
function common.place(text, mark, size)
    local offsets = {}
    while true do
        local first, last = text:find("{" .. mark .. "}", 1, true)
        if first == nil then
            return text, offsets
        end
        text = text:sub(1, first - 1) .. string.rep("0", size) .. text:sub(last + 1)
        offsets[#offsets + 1] = first - 1
    end
end

function common.bytes(text)
    return ffi.cast("uint8_t *", text)
end

-- What a client would send; servers on loopback may refuse a Host that is not loopback.
function common.host()
    return wrk.host .. ":" .. wrk.port
end

-- End the whole run: wrk takes SIGINT as "time is up" and reports as usual.
function common.stop()
    ffi.C.kill(ffi.C.getpid(), SIGINT)
end

local thread_count = 0

-- wrk calls setup() once for each thread, before it runs.
function setup(thread)
    thread:set("thread_id", thread_count)
    thread_count = thread_count + 1
end

-- One JSON object on a line of its own, for run.sh.
function done(summary, latency)
    local errors = summary.errors
    print(string.format(
        'BENCH {"requests":%d,"seconds":%.6f,"bytes":%d,"rate":%.1f,"p50_us":%d,"p99_us":%d,' ..
            '"bad_status":%d,"bad_socket":%d}',
        summary.requests, summary.duration / 1e6, summary.bytes,
        summary.requests / (summary.duration / 1e6), latency:percentile(50),
        latency:percentile(99), errors.status,
        errors.connect + errors.read + errors.write + errors.timeout))
end

return common
