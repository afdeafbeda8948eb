/*
 * The rows of routes.def are grouped by path: a path node has one route a method and the text of
 * its Allow header. A request path is cut into at most SEGMENTS_MAX segments and compared with the
 * nodes of the same length, in table order; of those there are few, so nothing smarter pays.
 */
#include "api/route.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "storage/base/invariant.h"

enum { SEGMENTS_MAX = 8, ALLOW_SIZE = 64, METHOD_COUNT = METHOD_OTHER };

#define ROUTE(method, path, name, permission, body, summary)                                       \
    extern const struct resource name##_resource;
#include "api/routes.def"
#undef ROUTE

static const struct route routes[] = {
#define ROUTE(method, path, name, permission, body, summary)                                       \
    {METHOD_##method, path, #name, PERMISSION_##permission, BODY_##body, summary, &name##_resource},
#include "api/routes.def"
#undef ROUTE
};

struct node {
    struct slice segments[SEGMENTS_MAX];
    bool is_param[SEGMENTS_MAX];
    unsigned segment_count;
    const struct route *by_method[METHOD_COUNT];
    char allow[ALLOW_SIZE];
};

static struct node nodes[ARRAY_COUNT(routes)];
static size_t node_count;
static pthread_once_t nodes_made = PTHREAD_ONCE_INIT;

/* Cut "/a/b" into "a", "b"; a path with more segments than any route has gives 0. */
static unsigned split(struct slice path, struct slice segments[SEGMENTS_MAX])
{
    const char *at = path.data;
    const char *end = at + path.size;
    unsigned count = 0;

    if (path.size == 0 || *at != '/')
        return 0;
    at++;
    for (;;) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        const char *stop = slash == NULL ? end : slash;

        if (count == SEGMENTS_MAX)
            return 0;
        segments[count++] = slice_of(at, (size_t)(stop - at));
        if (slash == NULL)
            return count;
        at = slash + 1;
    }
}

static void make_allow(struct node *node)
{
    static const struct {
        enum exchange_method method;
        const char *text;
    } order[] = {{METHOD_GET, "GET, HEAD, "}, {METHOD_PUT, "PUT, "}, {METHOD_POST, "POST, "},
        {METHOD_PATCH, "PATCH, "}, {METHOD_DELETE, "DELETE, "}};
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_COUNT(order); i++)
        if (node->by_method[order[i].method] != NULL)
            used += (size_t)snprintf(node->allow + used, ALLOW_SIZE - used, "%s", order[i].text);
    used += (size_t)snprintf(node->allow + used, ALLOW_SIZE - used, "OPTIONS");
    invariant(used < ALLOW_SIZE);
}

static struct node *node_of_path(const char *path, size_t route_index)
{
    for (size_t i = 0; i < route_index; i++)
        if (strcmp(routes[i].path, path) == 0)
            for (size_t n = 0; n < node_count; n++)
                if (nodes[n].by_method[routes[i].method] == &routes[i])
                    return &nodes[n];
    return NULL;
}

static void make_nodes(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        const struct route *route = &routes[i];
        struct node *node = node_of_path(route->path, i);

        if (node == NULL) {
            node = &nodes[node_count++];
            node->segment_count = split(slice_from_text(route->path), node->segments);
            invariant(node->segment_count > 0);
            for (unsigned s = 0; s < node->segment_count; s++) {
                const char *text = node->segments[s].data;

                node->is_param[s] = node->segments[s].size > 0 && text[0] == '{';
            }
        }
        invariant(node->by_method[route->method] == NULL);
        node->by_method[route->method] = route;
        if (route->method == METHOD_GET)
            node->by_method[METHOD_HEAD] = route;
    }
    for (size_t n = 0; n < node_count; n++)
        make_allow(&nodes[n]);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode `segment` to *scratch, which moves on. */
static bool decode(struct slice *segment, char **scratch)
{
    const char *in = segment->data;
    char *start = *scratch;
    char *out = start;

    if (segment->size == 0 || memchr(in, '%', segment->size) == NULL)
        return true;
    for (size_t i = 0; i < segment->size; i++) {
        int high, low;

        if (in[i] != '%') {
            *out++ = in[i];
            continue;
        }
        if (segment->size - i < 3)
            return false;
        high = hex_value(in[i + 1]);
        low = hex_value(in[i + 2]);
        if (high < 0 || low < 0 || (high == 0 && low == 0))
            return false;
        *out++ = (char)(high << 4 | low);
        i += 2;
    }
    *segment = slice_of(start, (size_t)(out - start));
    *scratch = out;
    return true;
}

static bool node_matches(const struct node *node, const struct slice *segments, unsigned count)
{
    if (node->segment_count != count)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (node->is_param[i] ? segments[i].size == 0
                              : !slice_equal(node->segments[i], segments[i]))
            return false;
    }
    return true;
}

enum coffer_status route_match(enum exchange_method method, struct slice path, char *scratch,
    struct route_match *match, struct error *err)
{
    struct slice segments[SEGMENTS_MAX];
    unsigned count;

    pthread_once(&nodes_made, make_nodes);
    *match = (struct route_match){0};
    count = split(path, segments);
    if (scratch != NULL)
        for (unsigned i = 0; i < count; i++)
            if (!decode(&segments[i], &scratch))
                return error_set(err, COFFER_BAD_REQUEST,
                    "the path has a %% that is not followed by two hexadecimal digits, or %%00");
    for (size_t n = 0; n < node_count; n++) {
        const struct node *node = &nodes[n];

        if (!node_matches(node, segments, count))
            continue;
        match->allow = node->allow;
        if (method >= METHOD_OPTIONS || node->by_method[method] == NULL)
            return error_set(err, COFFER_METHOD_NOT_ALLOWED, "this path takes %s", node->allow);
        for (unsigned i = 0; i < count; i++)
            if (node->is_param[i])
                match->params[match->param_count++] = segments[i];
        match->route = node->by_method[method];
        return COFFER_OK;
    }
    return error_set(err, COFFER_NO_SUCH_PATH,
        "nothing lives here; chunks are under /v1/chunks, datasets under /v1/datasets, the state "
        "of "
        "the server is /v1/status");
}

enum coffer_status route_find(struct exchange *exchange, struct error *err)
{
    char *scratch = NULL;
    struct route_match match;
    enum coffer_status status;

    if (exchange->path.size > 0 && memchr(exchange->path.data, '%', exchange->path.size) != NULL)
        scratch = exchange_alloc_text(exchange, exchange->path.size);
    status = route_match(exchange->method, exchange->path, scratch, &match, err);
    exchange->route = match.route;
    exchange->allow = match.allow;
    for (unsigned i = 0; i < match.param_count; i++)
        exchange->params[i] = match.params[i];
    return status;
}

const struct route *route_all(size_t *count)
{
    *count = ARRAY_COUNT(routes);
    return routes;
}

const char *permission_name(enum permission permission)
{
    static const char *const names[] = {"open", "read", "append", "write", "admin"};

    return names[permission];
}
