-- Transactions, one after the other, over each connection: open it, append to some channels, commit.
-- wrk's threads know nothing of connections, so run.sh gives each thread exactly one.
--
-- BENCH_PATH      the dataset
-- BENCH_CHANNELS  of each transaction; every thread has channels of its own
-- BENCH_BODY      a file: what is appended to each channel
-- BENCH_SEED      digits that no other run has
--
-- The report counts transactions, not requests: requests, rate, p50_us and p99_us are those of whole
-- transactions, commit_p50_us and commit_p99_us of their last request alone.
local common = dofile(os.getenv("BENCH_DIR") .. "/common.lua")
local ffi = require("ffi")
ffi.cdef([[
struct bench_time { long seconds, nanoseconds; };
int clock_gettime(int clock, struct bench_time *time);
]])

local MONOTONIC, DIGITS = 1, 9
local time = ffi.new("struct bench_time")
local requests, id_offsets = {}, {}
local step, serial = 1, 1 -- what is next
local begun, committing
-- Microseconds, as text, because that is what done() can get from a thread.
whole_times, commit_times = {}, {}

local function now()
    ffi.C.clock_gettime(MONOTONIC, time)
    return tonumber(time.seconds) * 1e6 + tonumber(time.nanoseconds) / 1e3
end

local function add(path, headers, body)
    local text = "POST " .. common.environment("BENCH_PATH") .. path .. " HTTP/1.1\r\nHost: " ..
        common.host() .. "\r\n" .. headers .. "Content-Length: "
    local id = common.environment("BENCH_SEED") .. "-" .. thread_id .. "-{id}"
    body = body:gsub("{whole}", id)
    -- {id} is shorter than what will stand there.
    text = text .. #common.place(body, "id", DIGITS) .. "\r\n\r\n" .. body
    requests[#requests + 1], id_offsets[#requests + 1] =
        common.place(text:gsub("{whole}", id), "id", DIGITS)
end

function init()
    local body = common.read_file(common.environment("BENCH_BODY"))
    local json = "Content-Type: application/json\r\n"
    local names = {}
    for i = 1, tonumber(common.environment("BENCH_CHANNELS")) do
        names[i] = "writer-" .. thread_id .. "-" .. i
    end
    add("/transactions", json, '{"id":"{whole}","channels":["' .. table.concat(names, '","') .. '"]}')
    for i = 1, #names do
        add("/channels/" .. names[i], "Coffer-Transaction: {whole}\r\n", body)
    end
    add("/transactions/{whole}/commit", json, "{}")
end

local function write_id(text, offsets, number)
    local bytes = common.bytes(text)
    for i = 1, #offsets do
        local rest = number
        for at = offsets[i] + DIGITS - 1, offsets[i], -1 do
            bytes[at] = 48 + rest % 10
            rest = math.floor(rest / 10)
        end
    end
end

-- wrk calls this once more than it sends, before the first: so it only says what is next.
function request()
    if step == 1 then
        begun = now()
    elseif step == #requests then
        committing = now()
    end
    write_id(requests[step], id_offsets[step], serial)
    return requests[step]
end

function response()
    if step < #requests then
        step = step + 1
        return
    end
    local ended = now()
    whole_times[serial] = math.floor(ended - begun)
    commit_times[serial] = math.floor(ended - committing)
    step, serial = 1, serial + 1
end

local common_setup = setup
local threads = {}

function setup(thread)
    common_setup(thread)
    threads[#threads + 1] = thread
end

local function percentile(times, part)
    return times[math.max(1, math.ceil(#times * part))] or 0
end

function done(summary)
    local whole, commit = {}, {}
    local errors, seconds = summary.errors, summary.duration / 1e6
    for _, thread in ipairs(threads) do
        for _, value in ipairs(thread:get("whole_times")) do
            whole[#whole + 1] = value
        end
        for _, value in ipairs(thread:get("commit_times")) do
            commit[#commit + 1] = value
        end
    end
    table.sort(whole)
    table.sort(commit)
    print(string.format(
        'BENCH {"requests":%d,"seconds":%.6f,"bytes":%d,"rate":%.1f,"p50_us":%d,"p99_us":%d,' ..
            '"commit_p50_us":%d,"commit_p99_us":%d,"bad_status":%d,"bad_socket":%d}',
        #whole, seconds, summary.bytes, #whole / seconds, percentile(whole, 0.5),
        percentile(whole, 0.99), percentile(commit, 0.5), percentile(commit, 0.99), errors.status,
        errors.connect + errors.read + errors.write + errors.timeout))
end
