#include "tests/support/store_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"

/* ---- the store ---- */

static enum io_method method_of_environment(void)
{
    const char *text = getenv("COFFER_IO_METHOD");

    return text != NULL && strcmp(text, "sync") == 0 ? IO_SYNC : IO_AUTO;
}

void fixture_init(struct store_fixture *fixture, enum engine_kind engine)
{
    const char *tmp = getenv("TMPDIR");

    memset(fixture, 0, sizeof(*fixture));
    (void)snprintf(fixture->root, sizeof(fixture->root), "%.100s/coffer-test-XXXXXX",
        tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(fixture->root));
    (void)snprintf(fixture->data_dir, sizeof(fixture->data_dir), "%s/data", fixture->root);
    store_options_default(&fixture->options);
    fixture->options.engine = engine;
    fixture->options.data_dir = fixture->data_dir;
    fixture->options.buffer_size = 4 << 20;
    fixture->options.memory_limit = 32 << 20;
    fixture->options.segment_size = FIXTURE_SEGMENT;
    fixture->options.pack_size = 1 << 20;
    fixture->options.reserve_space = 0;
    fixture->options.default_channels = 2;
    fixture->options.channels_max = 16;
    fixture->options.index_cache_size = 4 << 20;
    fixture->options.io_method = method_of_environment();
}

enum coffer_status fixture_try_open(struct store_fixture *fixture, struct error *err)
{
    assert_null(fixture->store);
    return store_open(&fixture->options, &fixture->store, err);
}

void fixture_open(struct store_fixture *fixture)
{
    struct error error;

    if (fixture_try_open(fixture, &error) != COFFER_OK)
        fail_msg("the store does not open: %s", error.text);
}

void fixture_close(struct store_fixture *fixture)
{
    struct store *store = fixture->store;
    struct error error;

    fixture->store = NULL;
    if (store_close(store, &error) != COFFER_OK)
        fail_msg("the store does not close well: %s", error.text);
}

void fixture_reopen(struct store_fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture);
}

void fixture_crash(struct store_fixture *fixture)
{
    char next[FIXTURE_PATH_SIZE];

    (void)snprintf(next, sizeof(next), "%s/data%u", fixture->root, ++fixture->generation);
    tree_copy(fixture->data_dir, next);
    (void)store_close(fixture->store, NULL);
    fixture->store = NULL;
    tree_remove(fixture->data_dir);
    memcpy(fixture->data_dir, next, sizeof(next));
}

void fixture_release(struct store_fixture *fixture)
{
    (void)store_close(fixture->store, NULL);
    fixture->store = NULL;
    tree_remove(fixture->root);
}

static const char *joined(const char *dir, const char *name)
{
    static _Thread_local char paths[8][FIXTURE_PATH_SIZE + 80];
    static _Thread_local unsigned turn;
    char *path = paths[turn++ % 8];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

const char *fixture_path(const struct store_fixture *fixture, const char *name)
{
    return joined(fixture->root, name);
}

const char *fixture_data_path(const struct store_fixture *fixture, const char *name)
{
    return joined(fixture->data_dir, name);
}

void fixture_remove_index(struct store_fixture *fixture)
{
    assert_null(fixture->store);
    tree_remove(fixture_data_path(fixture, "index"));
}

void fixture_drop_page_cache(struct store_fixture *fixture)
{
    char names[64][64];
    size_t count = 0;

    if (fixture->options.engine == ENGINE_LOCAL)
        count = folder_list(fixture_data_path(fixture, "packs"), ".pack", names, 64);
    for (size_t i = 0; i < count; i++) {
        char name[80];
        int fd;

        (void)snprintf(name, sizeof(name), "packs/%s", names[i]);
        fd = open(fixture_data_path(fixture, name), O_RDONLY | O_CLOEXEC);
        invariant(fd >= 0 && fdatasync(fd) == 0);
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
}

/* ---- content ---- */

uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545f4914f6cdd1du;
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return (random_next(state) >> 11) % limit;
}

void content_fill(void *out, size_t size, uint64_t seed, enum content_kind kind)
{
    static const char *const words[] = {"pack ", "record ", "segment ", "lane ", "offset "};
    uint64_t state = seed * 0x9e3779b97f4a7c15u | 1;
    uint8_t *at = out, *end = at + size;

    (void)random_next(&state);
    while (at < end) {
        uint64_t value = random_next(&state);
        const void *piece = &value;
        size_t part = sizeof(value);

        if (kind == CONTENT_TEXT) {
            piece = words[value % 5];
            part = strlen(piece);
        }
        part = part < (size_t)(end - at) ? part : (size_t)(end - at);
        memcpy(at, piece, part);
        at += part;
    }
}

uint8_t *content_make(size_t size, uint64_t seed, enum content_kind kind)
{
    uint8_t *data = malloc(size + 1);

    invariant(data != NULL);
    content_fill(data, size, seed, kind);
    return data;
}

struct digest content_key(const void *data, size_t size)
{
    struct digest key;

    sha256_once(data, size, &key);
    return key;
}

uint64_t test_seed(void)
{
    const char *text = getenv("COFFER_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : clock_wall_ns();

    print_message("seed: COFFER_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

bool test_long(void)
{
    return getenv("COFFER_TEST_LONG") != NULL;
}

/* ---- calls that wait ---- */

static enum coffer_status put_body(struct upload *upload, struct gate *gate, const uint8_t *data,
    size_t size, size_t piece, struct error *err)
{
    size_t at = 0;

    while (at < size) {
        size_t part = piece == 0 || piece > size - at ? size - at : piece, taken;
        enum coffer_status status = upload_data(upload, data + at, part, &taken, err);

        invariant(taken <= part && (status != COFFER_OK || taken == part));
        at += taken;
        if (status == COFFER_AGAIN)
            gate_wait(gate);
        else if (status != COFFER_OK)
            return status;
    }
    return COFFER_OK;
}

enum coffer_status store_put(struct store *store, const void *data, size_t size, size_t piece,
    const struct upload_options *options, struct upload_result *result, struct error *err)
{
    struct upload *upload;
    struct gate gate;
    enum coffer_status status;

    gate_init(&gate);
    status = upload_begin(store, options, gate_waker(&gate), &upload, err);
    if (status == COFFER_OK) {
        status = put_body(upload, &gate, data, size, piece, err);
        if (status == COFFER_OK)
            while ((status = upload_finish(upload, result, err)) == COFFER_AGAIN)
                gate_wait(&gate);
        upload_close(upload);
    }
    gate_release(&gate);
    return status;
}

struct digest store_put_good(struct store *store, const void *data, size_t size)
{
    struct digest key = content_key(data, size);
    struct upload_options options = {.size = size, .key = &key};
    struct upload_result result;
    struct error error;

    if (store_put(store, data, size, 0, &options, &result, &error) != COFFER_OK)
        fail_msg("put fails: %s", error.text);
    assert_true(digest_equal(&result.key, &key));
    assert_int_equal(result.size, size);
    assert_int_equal(result.state, CHUNK_DURABLE);
    return key;
}

struct digest store_put_buffered(
    struct store *store, const char *channel, const void *data, size_t size, struct ticket *ticket)
{
    struct upload_options options = {.size = size, .durability = DURABILITY_BUFFERED};
    struct upload_result result;
    struct error error;

    if (channel != NULL)
        options.channel = slice_from_text(channel);
    if (store_put(store, data, size, 0, &options, &result, &error) != COFFER_OK)
        fail_msg("buffered put fails: %s", error.text);
    if (ticket != NULL)
        *ticket = result.ticket;
    return result.key;
}

static enum coffer_status stream_all(
    struct reader *reader, struct gate *gate, uint8_t *out, size_t size, struct error *err)
{
    size_t at = 0, part;
    enum coffer_status status;

    for (;;) {
        size_t max = (size_t)min_u64(size - at + 1, 50000); /* one byte more than there is */

        while ((status = reader_read(reader, out + at, max, &part, err)) == COFFER_AGAIN)
            gate_wait(gate);
        if (status != COFFER_OK)
            return status;
        if (part == 0)
            break;
        at += part;
        if (at > size)
            return error_set(err, COFFER_INTERNAL, "more bytes than selected");
    }
    return at == size ? COFFER_OK : error_set(err, COFFER_INTERNAL, "fewer bytes than selected");
}

static enum coffer_status read_selected(struct reader *reader, struct gate *gate, uint8_t *out,
    size_t size, enum reader_form *form, struct error *err)
{
    struct reader_content content;
    enum coffer_status status;

    while ((status = reader_content(reader, &content, err)) == COFFER_AGAIN)
        gate_wait(gate);
    if (status != COFFER_OK)
        return status;
    if (form != NULL)
        *form = content.form;
    if (content.size != size)
        return error_set(err, COFFER_INTERNAL, "another size than selected");
    if (content.form == READER_MEMORY) {
        if (size > 0)
            memcpy(out, content.data, size);
        return COFFER_OK;
    }
    if (content.form == READER_STREAM)
        return stream_all(reader, gate, out, size, err);
    return pread(content.fd, out, size, (off_t)content.offset) == (ssize_t)size
               ? COFFER_OK
               : error_set(err, COFFER_INTERNAL, "the file is shorter than said");
}

static enum coffer_status open_reader(struct store *store, const struct digest *key,
    struct gate *gate, struct reader **reader, struct error *err)
{
    enum coffer_status status;

    gate_init(gate);
    status = reader_open(store, key, gate_waker(gate), reader, err);
    if (status != COFFER_OK)
        gate_release(gate);
    return status;
}

enum coffer_status store_get(
    struct store *store, const struct digest *key, uint8_t **data, size_t *size, struct error *err)
{
    struct reader *reader;
    struct gate gate;
    enum coffer_status status = open_reader(store, key, &gate, &reader, err);

    if (status != COFFER_OK)
        return status;
    *size = (size_t)reader_info(reader)->size;
    *data = malloc(*size + 2);
    invariant(*data != NULL);
    status = read_selected(reader, &gate, *data, *size, NULL, err);
    reader_close(reader);
    gate_release(&gate);
    if (status != COFFER_OK) {
        free(*data);
        *data = NULL;
    }
    return status;
}

enum coffer_status store_get_range(struct store *store, const struct digest *key, uint64_t offset,
    size_t size, void *out, enum reader_form *form, struct error *err)
{
    struct reader *reader;
    struct gate gate;
    enum coffer_status status = open_reader(store, key, &gate, &reader, err);
    uint8_t *room;

    if (status != COFFER_OK)
        return status;
    room = malloc(size + 2);
    invariant(room != NULL);
    reader_select(reader, offset, size);
    status = read_selected(reader, &gate, room, size, form, err);
    if (status == COFFER_OK)
        memcpy(out, room, size);
    free(room);
    reader_close(reader);
    gate_release(&gate);
    return status;
}

enum coffer_status store_get_encoded(
    struct store *store, const struct digest *key, uint8_t **data, size_t *size, struct error *err)
{
    struct reader *reader;
    struct gate gate;
    enum coffer_status status = open_reader(store, key, &gate, &reader, err);

    if (status != COFFER_OK)
        return status;
    if (reader_has_encoded(reader)) {
        reader_select_encoded(reader);
        *size = (size_t)reader_info(reader)->stored_size;
        *data = malloc(*size + 2);
        invariant(*data != NULL);
        status = read_selected(reader, &gate, *data, *size, NULL, err);
        if (status != COFFER_OK)
            free(*data);
    } else {
        status = error_set(err, COFFER_NOT_ACCEPTABLE, "it has no encoded form");
    }
    reader_close(reader);
    gate_release(&gate);
    return status;
}

enum coffer_status store_delete(struct store *store, const struct digest *keys, size_t count,
    uint64_t *deleted, bool *missing, struct error *err)
{
    struct removal *removal;
    struct gate gate;
    enum coffer_status status;

    gate_init(&gate);
    status = removal_begin(store, key_source_array(keys, count), gate_waker(&gate), &removal, err);
    if (status == COFFER_OK) {
        while ((status = removal_finish(removal, err)) == COFFER_AGAIN)
            gate_wait(&gate);
        if (deleted != NULL)
            *deleted = removal_deleted(removal);
        for (size_t i = 0; i < count && missing != NULL; i++)
            missing[i] = removal_missing(removal, i);
        removal_close(removal);
    }
    gate_release(&gate);
    return status;
}

enum coffer_status store_delete_one(struct store *store, const struct digest *key)
{
    bool missing = false;
    enum coffer_status status = store_delete(store, key, 1, NULL, &missing, NULL);

    return status == COFFER_OK && missing ? COFFER_NO_SUCH_CHUNK : status;
}

enum coffer_status store_sync(struct store *store, const struct ticket *tickets, size_t count,
    size_t *failed, struct error *err)
{
    struct slice *texts = calloc(count + 1, sizeof(struct slice));
    const struct barrier_failure *failures;
    struct barrier *barrier;
    struct gate gate;
    enum coffer_status status;
    size_t failure_count = 0;

    invariant(texts != NULL);
    for (size_t i = 0; i < count; i++)
        texts[i] = slice_from_text(tickets[i].text);
    gate_init(&gate);
    status = barrier_begin(store, texts, count, gate_waker(&gate), &barrier, err);
    if (status == COFFER_OK) {
        while ((status = barrier_finish(barrier, &failures, &failure_count, err)) == COFFER_AGAIN)
            gate_wait(&gate);
        barrier_close(barrier);
    }
    gate_release(&gate);
    free(texts);
    if (failed != NULL)
        *failed = failure_count;
    return status;
}

bool store_has(struct store *store, const struct digest *key)
{
    struct chunk_info info;
    enum coffer_status status = store_stat(store, key, &info, NULL);

    assert_true(status == COFFER_OK || status == COFFER_NO_SUCH_CHUNK);
    return status == COFFER_OK;
}

void check_content(struct store *store, const struct digest *key, const void *data, size_t size)
{
    struct error error;
    uint8_t *got;
    size_t got_size;
    enum coffer_status status = store_get(store, key, &got, &got_size, &error);

    if (status == COFFER_NO_SUCH_CHUNK)
        fail_msg("a chunk of %zu bytes is not there", size);
    if (status != COFFER_OK)
        fail_msg("a chunk of %zu bytes cannot be read: %s", size, error.text);
    assert_int_equal(got_size, size);
    assert_memory_equal(got, data, size);
    free(got);
}
