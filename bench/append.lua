-- Appends to the channels of a dataset.
--
-- BENCH_PATH      the path; {channel} stands for the channel's name, six digits
-- BENCH_CHANNELS  how many there are: each thread takes one after the other
-- BENCH_HEADERS   more header lines, each ended by CR LF
-- BENCH_BODY      a file of random bytes: each body begins at another place of it, so that a block of
--                 many appends is as random as one of them
-- BENCH_COUNT     how many in all, then the run ends; without it, until the time is over
-- BENCH_SIZE      bytes of one body; as long as the file: then every body is the same
local common = dofile(os.getenv("BENCH_DIR") .. "/common.lua")
local ffi = require("ffi")

local DIGITS = 6
local STRIDE = 4099 -- a prime, so that it takes long until a place comes again
local text, bytes, body_offset, channel_offsets
local pool, pool_bytes, room, size, channels
local place, channel = 0, 0
local left

function init()
    local head
    local threads = tonumber(common.environment("BENCH_THREADS"))
    left = math.ceil(tonumber(common.environment("BENCH_COUNT", "0")) / threads)
    pool = common.read_file(common.environment("BENCH_BODY"))
    size = tonumber(common.environment("BENCH_SIZE"))
    channels = tonumber(common.environment("BENCH_CHANNELS"))
    assert(#pool >= size and channels < 10 ^ DIGITS)
    pool_bytes, room = common.bytes(pool), #pool - size + 1
    head = "POST " .. common.environment("BENCH_PATH") .. " HTTP/1.1\r\nHost: " .. common.host() ..
        "\r\nContent-Length: " .. size .. "\r\n" .. common.environment("BENCH_HEADERS", "") .. "\r\n"
    head, channel_offsets = common.place(head, "channel", DIGITS)
    body_offset = #head
    text = head .. pool:sub(1, size)
    bytes = common.bytes(text)
    -- Threads begin at different channels.
    channel = math.floor(channels / threads) * thread_id
end

local function put_number(at, number)
    for i = at + DIGITS - 1, at, -1 do
        bytes[i] = 48 + number % 10
        number = math.floor(number / 10)
    end
end

function request()
    channel = (channel + 1) % channels
    for i = 1, #channel_offsets do
        put_number(channel_offsets[i], channel)
    end
    if room > 1 then
        place = (place + STRIDE) % room
        ffi.copy(bytes + body_offset, pool_bytes + place, size)
    end
    left = left - 1
    if left == 0 then
        common.stop()
    end
    return text
end
