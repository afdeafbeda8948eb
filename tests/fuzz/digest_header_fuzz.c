/*
 * Target: Content-Digest and Repr-Digest (digest_header.h). What was read can be written, and is
 * read the same again.
 */
#include "api/digest_header.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest digest, again;
    struct error err = {0};
    bool found = false;
    char text[DIGEST_HEADER_SIZE + 1];
    enum coffer_status status = digest_header_parse(slice_of(data, size), &digest, &found, &err);

    if (status != COFFER_OK) {
        fuzz_check(status == COFFER_BAD_DIGEST_HEADER && err.text[0] != '\0');
        return 0;
    }
    if (!found)
        return 0;
    digest_header_format(&digest, text);
    fuzz_check(digest_header_parse(slice_from_text(text), &again, &found, NULL) == COFFER_OK);
    fuzz_check(found && digest_equal(&digest, &again));
    return 0;
}
