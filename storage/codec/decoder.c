#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/codec/codec.h"
#include "storage/codec/seek_table.h"

struct decoder {
    ZSTD_DCtx *context;
};

static pthread_key_t thread_decoder_key;
static pthread_once_t thread_decoder_once = PTHREAD_ONCE_INIT;

struct decoder *decoder_create(void)
{
    struct decoder *decoder = calloc(1, sizeof(*decoder));

    invariant(decoder != NULL);
    decoder->context = ZSTD_createDCtx();
    invariant(decoder->context != NULL);
    return decoder;
}

void decoder_destroy(struct decoder *decoder)
{
    if (decoder == NULL)
        return;
    ZSTD_freeDCtx(decoder->context);
    free(decoder);
}

static void destroy_at_thread_end(void *decoder)
{
    decoder_destroy(decoder);
}

static void make_thread_key(void)
{
    invariant(pthread_key_create(&thread_decoder_key, destroy_at_thread_end) == 0);
}

struct decoder *decoder_of_thread(void)
{
    struct decoder *decoder;

    pthread_once(&thread_decoder_once, make_thread_key);
    decoder = pthread_getspecific(thread_decoder_key);
    if (decoder == NULL) {
        decoder = decoder_create();
        invariant(pthread_setspecific(thread_decoder_key, decoder) == 0);
    }
    return decoder;
}

/* Exactly one zstd frame that says that it holds raw_size bytes, and does. The looks before the
 * decoding keep other formats that the library might know (those of its early versions) away from
 * damaged bytes. */
static enum coffer_status decode_one(
    struct decoder *decoder, struct slice stored, void *raw, size_t raw_size, struct error *err)
{
    size_t size;

    if (stored.size < sizeof(uint32_t) || get_le32(stored.data) != ZSTD_MAGICNUMBER)
        return error_set(err, COFFER_DATA_CORRUPT, "this is not a zstd frame");
    if (ZSTD_getFrameContentSize(stored.data, stored.size) != raw_size)
        return error_set(err, COFFER_DATA_CORRUPT,
            "a zstd frame does not say that it holds %zu bytes", raw_size);
    if (ZSTD_findFrameCompressedSize(stored.data, stored.size) != stored.size)
        return error_set(
            err, COFFER_DATA_CORRUPT, "a zstd frame does not have %zu bytes", stored.size);
    size = ZSTD_decompressDCtx(decoder->context, raw, raw_size, stored.data, stored.size);
    if (ZSTD_isError(size))
        return error_set(
            err, COFFER_DATA_CORRUPT, "zstd cannot decode: %s", ZSTD_getErrorName(size));
    if (size != raw_size)
        return error_set(
            err, COFFER_DATA_CORRUPT, "zstd decoded %zu bytes instead of %zu", size, raw_size);
    return COFFER_OK;
}

enum coffer_status frame_decode(struct decoder *decoder, const struct frame *frame,
    struct slice stored, void *raw, struct error *err)
{
    enum coffer_status status = decode_one(decoder, stored, raw, frame->raw_size, err);

    if (status != COFFER_OK)
        return status;
    if (frame->checked && seek_checksum(slice_of(raw, frame->raw_size)) != frame->checksum)
        return error_set(err, COFFER_DATA_CORRUPT, "a frame does not have its checksum");
    return COFFER_OK;
}

static enum coffer_status decode_frames(
    struct decoder *decoder, struct slice stored, uint8_t *raw, size_t raw_size, struct error *err)
{
    const uint8_t *in = stored.data;
    size_t tail_size = codec_tail_size(raw_size);
    struct frame_table table;
    enum coffer_status status;

    if (stored.size < tail_size)
        return error_set(err, COFFER_DATA_CORRUPT, "a record is shorter than its seek table");
    status = frame_table_parse(
        slice_of(in + stored.size - tail_size, tail_size), raw_size, stored.size, &table, err);
    if (status != COFFER_OK)
        return status;
    for (size_t i = 0; i < table.count && status == COFFER_OK; i++) {
        const struct frame *frame = &table.frames[i];

        status = frame_decode(decoder, frame,
            slice_of(in + frame->stored_offset, frame->stored_size), raw + frame->raw_offset, err);
    }
    frame_table_release(&table);
    return status;
}

enum coffer_status codec_decode(struct decoder *decoder, enum codec codec, struct slice stored,
    void *raw, size_t raw_size, struct error *err)
{
    switch (codec) {
    case CODEC_NONE:
        if (stored.size != raw_size)
            return error_set(err, COFFER_DATA_CORRUPT, "%zu bytes are stored instead of %zu",
                stored.size, raw_size);
        if (raw_size != 0)
            memcpy(raw, stored.data, raw_size);
        return COFFER_OK;
    case CODEC_ZSTD:
        if (codec_tail_size(raw_size) == 0)
            return decode_one(decoder, stored, raw, raw_size, err);
        return decode_frames(decoder, stored, raw, raw_size, err);
    case CODEC_ZLIB:
        break;
    }
    return error_set(
        err, COFFER_FORMAT_UNKNOWN, "codec %d is not one that this version decodes", (int)codec);
}
