-- Writes of content that nobody has seen, under names that nobody has used.
--
-- BENCH_METHOD   PUT or POST
-- BENCH_PATH     the path; {name} stands for 64 fresh hexadecimal digits, {ab} for the first two
-- BENCH_HEADERS  more header lines, each ended by CR LF
-- BENCH_BODY     a file of random bytes, the template of all bodies; its first 32 bytes become
--                the number of the request, which makes each body unique
-- BENCH_SEED     12 hexadecimal digits that no other run has
local common = dofile(os.getenv("BENCH_DIR") .. "/common.lua")
local ffi = require("ffi")

local UNIQUE = 32 -- seed (12), thread (4), count (16)
local COUNT_AT, COUNT_DIGITS = 16, 16
local text, bytes, body_offset, name_offsets, folder_offsets
local count = 0
local unique = ffi.new("uint8_t[32]")
local digits = ffi.new("uint8_t[16]", {("0123456789abcdef"):byte(1, 16)})

function init()
    local body = common.read_file(common.environment("BENCH_BODY"))
    local seed = common.environment("BENCH_SEED")
    local head
    assert(#seed == 12 and #body >= UNIQUE)
    ffi.copy(unique, seed .. string.format("%04x", thread_id) .. string.rep("0", COUNT_DIGITS), UNIQUE)
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
    local rest = count
    for i = UNIQUE - 1, COUNT_AT, -1 do
        unique[i] = digits[rest % 16]
        rest = math.floor(rest / 16)
        if rest == 0 then
            break
        end
    end
    count = count + 1
    -- The name begins with the count's last two digits, so that names spread over all folders.
    for i = 1, #folder_offsets do
        ffi.copy(bytes + folder_offsets[i], unique + UNIQUE - 2, 2)
    end
    for i = 1, #name_offsets do
        ffi.copy(bytes + name_offsets[i], unique + UNIQUE - 2, 2)
        ffi.copy(bytes + name_offsets[i] + 2, unique, UNIQUE)
    end
    ffi.copy(bytes + body_offset, unique, UNIQUE)
    return text
end
