#include <string.h>
#include <strings.h>

#include "api/exchange_head.h"
#include "server/http_mhd.h"
#include "storage/base/invariant.h"

struct head_walk {
    struct exchange *exchange;
    const char *end; /* of what was read so far: the NUL that libmicrohttpd put there */
    bool broken;
};

static void bad(struct exchange *exchange, const char *why)
{
    exchange_refuse(exchange, COFFER_BAD_REQUEST, why);
}

/* No control characters: libmicrohttpd lets a lone CR and the like pass. */
static bool is_clean(const char *text, size_t size)
{
    unsigned char dirty = 0;

    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        dirty |= (unsigned char)((c < 0x20 && c != '\t') || c == 0x7f);
    }
    return dirty == 0;
}

/* It was hidden from libmicrohttpd, which so reads no body: whatever can be made of it (a blank
 * behind the number), it is refused. */
static void refuse_length(struct exchange *exchange, struct slice value)
{
    uint64_t length;
    enum coffer_status status = exchange_length(value, &length);

    exchange_refuse(exchange, status == COFFER_OK ? COFFER_BAD_REQUEST : status,
        "Content-Length is not a number of bytes that a body has");
}

static enum MHD_Result on_header(void *context, enum MHD_ValueKind kind, const char *name,
    size_t name_size, const char *value, size_t value_size)
{
    struct head_walk *walk = context;

    if (value == NULL) {
        walk->broken = true;
        return MHD_NO;
    }
    /* The line before ended with LF or CR LF, now NULs, and this one begins right behind. A line
     * that was folded, or had a NUL in it, does not. */
    if (unlikely(name != walk->end + 2 && name != walk->end + 1))
        walk->broken = true;
    walk->end = value + value_size;
    if (unlikely(name_size == 0 || name[0] == ' ' || name[0] == '\t' ||
                 name[name_size - 1] == ' ' || name[name_size - 1] == '\t' ||
                 !is_clean(value, value_size)))
        walk->broken = true;
    while (value_size > 0 && (value[value_size - 1] == ' ' || value[value_size - 1] == '\t')) {
        value_size--;
        /* libmicrohttpd does not trim: it reads "chunked " as no chunked body. */
        walk->broken = walk->broken || (name_size == 17 && value_size >= 7 &&
                                           strncasecmp(name, "transfer-encoding", 17) == 0);
    }
    if (unlikely(kind == HTTP_HIDDEN_KIND && name_size == HTTP_CONTENT_LENGTH_SIZE))
        refuse_length(walk->exchange, slice_of(value, value_size));
    exchange_add_header(walk->exchange, name, name_size, value, value_size);
    return MHD_YES;
}

static bool target_is_clean(const struct exchange *exchange)
{
    const char *target = exchange->target.data;
    const char *path = exchange->path.data;

    for (size_t i = 0; i < exchange->target.size; i++)
        if ((unsigned char)target[i] <= 0x20 || target[i] == 0x7f)
            return false;
    return exchange->path.size > 0 &&
           (*path == '/' || slice_equal(exchange->path, slice_of("*", 1)));
}

/* Whether the headers end where libmicrohttpd says: with an empty line right behind the last. */
static bool ends_there(const struct head_walk *walk, const char *method, size_t header_size)
{
    size_t left = (size_t)(method + header_size - walk->end);

    return left >= 2 && left <= 4;
}

void http_head_read(struct http_call *call, const char *method, const char *version)
{
    struct exchange *exchange = call->exchange;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    size_t header_size = info == NULL ? 0 : info->header_size;
    struct head_walk walk = {exchange, version + strlen(version), false};

    exchange_set_method(exchange, method);
    if (header_size > call->worker->options->header_size_max)
        exchange_refuse(exchange, COFFER_HEADERS_TOO_LARGE, NULL);
    (void)MHD_get_connection_values_n(call->connection, HTTP_HEADER_KINDS, on_header, &walk);
    if (unlikely(walk.broken || !ends_there(&walk, method, header_size)))
        bad(exchange, "a header line is malformed (a NUL, a folded line, a space before the "
                      "colon, or a control character)");
    if (unlikely(
            call->target == NULL || (exchange->bad != COFFER_URI_TOO_LONG &&
                                        (call->target != method + strlen(method) + 1 ||
                                            version != call->target + exchange->target.size + 1 ||
                                            !target_is_clean(exchange)))))
        bad(exchange, "the request target is no path");
    if (unlikely(strcmp(version, "HTTP/1.0") == 0)) {
        if (exchange_has(exchange, HEADER_TRANSFER_ENCODING))
            bad(exchange, "HTTP/1.0 has no Transfer-Encoding");
    } else if (unlikely(!exchange_has(exchange, HEADER_HOST))) {
        bad(exchange, "the header Host is missing");
    }
    call->target = NULL;
    if (!call->socket->local &&
        !host_guard_allows(call->worker->guard, exchange_header(exchange, HEADER_HOST),
            exchange_header(exchange, HEADER_ORIGIN)))
        exchange_refuse(exchange, COFFER_FORBIDDEN,
            "this server answers only requests from this machine: Host and Origin must name it");
}
