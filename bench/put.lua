-- Writes of content that nobody has seen, under names that nobody has used.
--
-- BENCH_METHOD   PUT or POST
-- BENCH_PATH     the path; {name} stands for 64 fresh hexadecimal digits, {ab} for the first two
-- BENCH_HEADERS  more header lines, each ended by CR LF
-- BENCH_BODY     a file of random bytes, the template of all bodies; its first 16 bytes become
--                the number of the request, mixed, which makes each body unique and leaves it
--                random: a run of zeros would look as if the body were worth compressing
-- BENCH_SEED     12 hexadecimal digits that no other run has
local common = dofile(os.getenv("BENCH_DIR") .. "/common.lua")
local bit = require("bit")
local ffi = require("ffi")

local UNIQUE = 16 -- bytes: the request's number, and that of run and thread
local text, bytes, body_offset, name_offsets, folder_offsets
local count = 0ULL
local unique = ffi.new("uint64_t[2]")
local unique_bytes = ffi.cast("uint8_t *", unique)
local name = ffi.new("uint8_t[64]")
local digits = ffi.new("uint8_t[16]", { ("0123456789abcdef"):byte(1, 16) })

-- splitmix64's last steps: different numbers stay different.
local function mix(number)
    number = bit.bxor(number, bit.rshift(number, 30)) * 0xbf58476d1ce4e5b9ULL
    number = bit.bxor(number, bit.rshift(number, 27)) * 0x94d049bb133111ebULL
    return bit.bxor(number, bit.rshift(number, 31))
end

function init()
    local body = common.read_file(common.environment("BENCH_BODY"))
    local seed = common.environment("BENCH_SEED")
    local head
    assert(#seed == 12 and #body >= UNIQUE)
    ffi.fill(name, 64, digits[0])
    unique[1] = mix(tonumber(seed, 16) * 65536ULL + thread_id + 1)
    head = common.environment("BENCH_METHOD") .. " " .. common.environment("BENCH_PATH") ..
        " HTTP/1.1\r\nHost: " .. common.host() .. "\r\nContent-Length: " .. #body .. "\r\n" ..
        common.environment("BENCH_HEADERS", "") .. "\r\n"
    -- {ab} stands before {name}, whose digits would move it.
    head, folder_offsets = common.place(head, "ab", 2)
    head, name_offsets = common.place(head, "name", 64)
    body_offset = #head
    text = head .. body
    bytes = common.bytes(text)
end

function request()
    count = count + 1
    unique[0] = mix(count)
    for i = 0, UNIQUE - 1 do
        name[2 * i] = digits[bit.rshift(unique_bytes[i], 4)]
        name[2 * i + 1] = digits[bit.band(unique_bytes[i], 15)]
    end
    for i = 1, #folder_offsets do
        ffi.copy(bytes + folder_offsets[i], name, 2)
    end
    for i = 1, #name_offsets do
        ffi.copy(bytes + name_offsets[i], name, 64)
    end
    ffi.copy(bytes + body_offset, unique, UNIQUE)
    return text
end
