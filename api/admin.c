/*
 * /healthz, /readyz and GET /v1/status. The first two are answered in every state of the service.
 */
#include "api/admin_rows.h"
#include "storage/base/clock.h"

extern const struct resource health_resource, ready_resource, status_resource;

enum { STATUS_SIZE_MAX = 1 << 20, STATUS_CHANNELS_MAX = 1000, READY_SIZE = 512 };

static void reply_json(struct exchange *exchange, int http_status, struct slice text)
{
    exchange_reply(exchange, http_status);
    exchange_reply_header(exchange, "Content-Type", "application/json");
    exchange_reply_header(exchange, "Cache-Control", "no-store");
    exchange_reply_memory(exchange, text.data, text.size);
}

static enum coffer_status health_finish(struct exchange *exchange, struct error *err)
{
    (void)err;
    reply_json(exchange, 200, slice_from_text("{\"status\":\"ok\"}\n"));
    return COFFER_OK;
}

static enum coffer_status ready_finish(struct exchange *exchange, struct error *err)
{
    int state = atomic_load_explicit(&exchange->service->state, memory_order_acquire);
    bool ready = state == SERVICE_READY;
    struct store_status store;
    struct json_out out;

    (void)err;
    store.reason[0] = '\0';
    if (ready) {
        store_status(exchange->service->store, &store);
        ready = store.writable;
    }
    json_out_fixed(&out, exchange_alloc_text(exchange, READY_SIZE), READY_SIZE);
    json_out_object(&out);
    json_out_member_bool(&out, "ready", ready);
    json_out_name(&out, "reasons");
    json_out_array(&out);
    if (state == SERVICE_RECOVERING)
        json_out_string(&out, slice_from_text("recovering: the store is being opened"));
    else if (state == SERVICE_DRAINING)
        json_out_string(&out, slice_from_text("draining: the server is shutting down"));
    else if (!ready)
        json_out_string(&out,
            slice_from_text(store.reason[0] == '\0' ? "the store takes no writes" : store.reason));
    json_out_array_end(&out);
    json_out_object_end(&out);
    json_out_line(&out);
    reply_json(exchange, ready ? 200 : 503, json_out_text(&out));
    if (!ready)
        exchange_reply_header(exchange, "Retry-After", "1");
    return COFFER_OK;
}

static void write_status(
    struct json_out *out, const struct service *service, const struct store_status *store)
{
    json_out_member_text(out, "version", service->version);
    json_out_member_text(out, "boot", store_boot(service->store));
    json_out_member_u64(out, "uptime", (clock_wall_ns() - service->started_ns) / NS_PER_S);
    json_out_member_text(out, "engine", store->engine);
    json_out_member_u64(out, "chunks", store->chunks);
    json_out_member_u64(out, "used_space", store->used_space);
    json_out_member_u64(out, "max_space", store->max_space);
    json_out_member_u64(out, "live_bytes", store->live_bytes);
    json_out_member_u64(out, "dead_bytes", store->dead_bytes);
    json_out_member_u64(out, "packs", store->packs);
    json_out_member_u64(out, "damaged_records", store->damaged_records);
    json_out_member_u64(out, "buffered_bytes", store->buffered_bytes);
    json_out_member_u64(out, "buffered_records", store->buffered_records);
    json_out_member_u64(out, "syncs", store->syncs);
    json_out_member_u64(out, "memory_used", store->memory_used);
    json_out_member_u64(out, "memory_limit", store->memory_limit);
    json_out_member_bool(out, "writable", store->writable);
    if (!store->writable)
        json_out_member_text(out, "reason", store->reason);
}

static enum coffer_status status_finish(struct exchange *exchange, struct error *err)
{
    const struct service *service = exchange->service;
    struct channel_info *channels =
        exchange_alloc(exchange, STATUS_CHANNELS_MAX * sizeof(*channels));
    size_t count = store_channels(service->store, NULL, channels, STATUS_CHANNELS_MAX);
    struct store_status store;
    struct json_out out;
    const char *text;

    store_status(service->store, &store);
    json_out_growable(&out, STATUS_SIZE_MAX);
    json_out_object(&out);
    write_status(&out, service, &store);
    json_out_name(&out, "channels");
    json_out_array(&out);
    for (size_t i = 0; i < count; i++)
        channel_row_write(&out, &channels[i]);
    json_out_array_end(&out);
    json_out_object_end(&out);
    json_out_line(&out);
    if (!json_out_ok(&out)) {
        json_out_release(&out);
        return error_set(err, COFFER_OVERLOADED, "no memory for the status; try again later");
    }
    text = exchange_copy(exchange, json_out_text(&out));
    reply_json(exchange, 200, slice_of(text, json_out_text(&out).size));
    json_out_release(&out);
    return COFFER_OK;
}

const struct resource health_resource = {.finish = health_finish, .any_state = true};
const struct resource ready_resource = {.finish = ready_finish, .any_state = true};
const struct resource status_resource = {.finish = status_finish};
