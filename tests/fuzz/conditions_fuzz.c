/*
 * Target: the conditional, range and negotiation headers (conditions.h). Input: a little-endian u32
 * content size, then the header's value.
 */
#include "api/conditions.h"
#include "storage/base/bytes.h"
#include "tests/fuzz/fuzz.h"

static const char ETAG[] = "\"abc\"";

static void try_range(struct slice value, uint64_t size)
{
    uint64_t offset = 0, length = 0;
    struct slice etag = slice_from_text(ETAG), absent = {0};

    if (range_select(value, absent, etag, size, &offset, &length) == RANGE_PART) {
        fuzz_check(length > 0 && offset < size && length <= size - offset);
    }
    if (range_start(value, size, &offset) == RANGE_PART)
        fuzz_check(offset <= size);
    /* The condition is foreign too: a range is served only of what it names. */
    if (range_select(slice_from_text("bytes=1-2"), value, etag, size, &offset, &length) ==
        RANGE_PART)
        fuzz_check(offset == 1 && length <= 2 && etag_list_has(value, etag, false));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice value, absent = {0}, etag = slice_from_text(ETAG);

    if (size < 4)
        return 0;
    value = slice_of(data + 4, size - 4);
    try_range(value, get_le32(data));
    /* What the strong comparison finds, the weak one finds too. */
    fuzz_check(!etag_list_has(value, etag, false) || etag_list_has(value, etag, true));
    fuzz_check(conditions_check(value, absent, etag, true) != CONDITION_NOT_MODIFIED);
    fuzz_check(conditions_check(absent, value, etag, true) != CONDITION_FAILED);
    fuzz_check(conditions_check(absent, value, etag, false) != CONDITION_NOT_MODIFIED);
    (void)accepts_zstd(value);
    (void)accepts_ndjson(value);
    (void)media_type_is(value, "application/json");
    return 0;
}
