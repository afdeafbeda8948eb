/*
 * Target: tar archives that somebody sends (tar_in.h). Input: a byte for the size of the pieces,
 * then the archive. An entry never gives more bytes than it said, and as many if it ends well; the
 * pieces make no difference.
 */
#include "api/tar_in.h"
#include "tests/fuzz/fuzz.h"

struct source {
    const uint8_t *data;
    size_t size, at, piece;
    uint8_t *copy; /* the piece handed out last, in memory of exactly its size */
};

struct outcome {
    enum coffer_status status;
    size_t entries;
    uint64_t bytes; /* of content */
};

static bool read_piece(void *context, const void **data, size_t *size)
{
    struct source *source = context;
    size_t left = source->size - source->at;

    *size = source->piece < left ? source->piece : left;
    free(source->copy);
    source->copy = malloc(*size > 0 ? *size : 1);
    fuzz_check(source->copy != NULL);
    memcpy(source->copy, source->data + source->at, *size);
    source->at += *size;
    *data = source->copy;
    return true;
}

/* Take the content of every other entry only: what is not taken is skipped. */
static enum coffer_status read_entry(
    struct tar_in *tar, const struct tar_in_entry *entry, struct outcome *outcome)
{
    uint64_t taken = 0, said = entry->size;
    bool kept = entry->refused == NULL;
    size_t size = 1;
    enum coffer_status status = COFFER_OK;

    if (entry->name.size > 0)
        fuzz_check(entry->name.data != NULL);
    if (outcome->entries % 2 == 0)
        return COFFER_OK;
    while (status == COFFER_OK && size > 0) {
        const void *data = NULL;

        status = tar_in_data(tar, &data, &size, NULL);
        if (status != COFFER_OK)
            break;
        taken += size;
        outcome->bytes += size;
        fuzz_check(!kept || taken <= said);
    }
    fuzz_check(status != COFFER_OK || !kept || taken == said);
    return status;
}

static struct outcome read_all(const uint8_t *data, size_t size, size_t piece)
{
    struct source source = {.data = data, .size = size, .piece = piece};
    struct outcome outcome = {0};
    struct tar_in *tar = NULL;
    bool more = true;

    outcome.status = tar_in_create(read_piece, &source, &tar, NULL);
    while (outcome.status == COFFER_OK && more) {
        struct tar_in_entry entry;

        outcome.status = tar_in_next(tar, &entry, &more, NULL);
        if (outcome.status != COFFER_OK || !more)
            break;
        outcome.entries++;
        fuzz_check(outcome.entries <= size); /* an entry takes bytes: this ends */
        outcome.status = read_entry(tar, &entry, &outcome);
    }
    tar_in_destroy(tar);
    free(source.copy);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, pieces;

    if (size < 2)
        return 0;
    whole = read_all(data + 1, size - 1, size - 1);
    pieces = read_all(data + 1, size - 1, (size_t)data[0] + 1);
    fuzz_check(whole.status == pieces.status && whole.entries == pieces.entries);
    fuzz_check(whole.bytes == pieces.bytes || whole.status != COFFER_OK);
    return 0;
}
