#include "api/item_stream.h"

#include "storage/base/invariant.h"

struct item_stream {
    item_stream_fill *fill;
    void *context;
    struct json_out out;
    size_t sent; /* of the buffer */
    bool done;
    char buffer[ITEM_STREAM_SIZE];
};

static enum coffer_status fill_buffer(struct item_stream *stream, struct error *err)
{
    enum coffer_status status;
    bool comma = stream->out.comma;

    json_out_reset(&stream->out);
    stream->out.comma = comma; /* the text goes on where the last buffer ended */
    stream->sent = 0;
    status = stream->fill(stream->context, &stream->out, &stream->done, err);
    if (status != COFFER_OK)
        return status;
    invariant(json_out_ok(&stream->out));
    invariant(stream->done || json_out_text(&stream->out).size > 0);
    return COFFER_OK;
}

static enum coffer_status read_stream(
    void *context, void *out, size_t max, size_t *size, struct error *err)
{
    struct item_stream *stream = context;
    struct slice text = json_out_text(&stream->out);

    *size = 0;
    if (stream->sent == text.size && !stream->done) {
        enum coffer_status status = fill_buffer(stream, err);

        if (status != COFFER_OK)
            return status;
        text = json_out_text(&stream->out);
    }
    *size = text.size - stream->sent < max ? text.size - stream->sent : max;
    if (*size > 0)
        memcpy(out, (const char *)text.data + stream->sent, *size);
    stream->sent += *size;
    return COFFER_OK;
}

enum coffer_status item_stream_reply(struct exchange *exchange, const char *media_type,
    item_stream_fill *fill, void *context, struct error *err)
{
    struct item_stream *stream = exchange_alloc(exchange, sizeof(*stream));
    enum coffer_status status;

    stream->fill = fill;
    stream->context = context;
    json_out_fixed(&stream->out, stream->buffer, sizeof(stream->buffer));
    status = fill_buffer(stream, err);
    if (status != COFFER_OK)
        return status;
    exchange_reply(exchange, 200);
    exchange_reply_header(exchange, "Content-Type", media_type);
    if (stream->done)
        exchange_reply_memory(exchange, stream->buffer, json_out_text(&stream->out).size);
    else
        exchange_reply_stream(exchange, REPLY_SIZE_UNKNOWN, read_stream, stream);
    return COFFER_OK;
}
