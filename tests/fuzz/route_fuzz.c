/*
 * Target: the matching of paths (route.h). Input: a byte for the method, then the path. Every
 * parameter lies in the path or in the scratch, and is not empty.
 */
#include "api/route.h"
#include "tests/fuzz/fuzz.h"

static void check_match(
    const struct route_match *match, const char *path, const char *scratch, size_t size)
{
    fuzz_check(match->route != NULL && match->param_count <= EXCHANGE_PARAMS_MAX);
    for (unsigned i = 0; i < match->param_count; i++) {
        const char *text = match->params[i].data;
        size_t length = match->params[i].size;

        fuzz_check(length > 0 && length <= size);
        fuzz_check((text >= path && text + length <= path + size) ||
                   (text >= scratch && text + length <= scratch + size));
        fuzz_check(memchr(text, '\0', length) == NULL || memchr(path, '\0', size) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct route_match match;
    enum exchange_method method;
    enum coffer_status status;
    char *path, *scratch;

    if (size < 2)
        return 0;
    method = (enum exchange_method)(data[0] % (METHOD_OTHER + 1));
    path = fuzz_text(data + 1, size - 1);
    path[0] = '/';
    scratch = fuzz_text(data + 1, size - 1);
    status = route_match(method, slice_of(path, size - 1), scratch, &match, NULL);
    if (status == COFFER_OK)
        check_match(&match, path, scratch, size - 1);
    else
        fuzz_check(match.route == NULL);
    fuzz_check(
        (status == COFFER_METHOD_NOT_ALLOWED || status == COFFER_OK) == (match.allow != NULL));
    free(scratch);
    free(path);
    return 0;
}
