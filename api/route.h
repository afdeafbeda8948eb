/*
 * route.h - from method and path to the route of routes.def.
 *
 * Paths are compared segment by segment after percent-decoding, so "/v1/%63hunks" is
 * "/v1/chunks", and an encoded slash stays inside its segment. A parameter matches any segment
 * that is not empty. No allocation, no regular expression: the table is cut into segments once.
 *
 * Threads: any; the table is made by the first call and constant from then on.
 * Errors:  COFFER_NO_SUCH_PATH; COFFER_METHOD_NOT_ALLOWED with the Allow list (OPTIONS too: the
 *          caller answers it with 204); COFFER_BAD_REQUEST for a broken percent-escape or a NUL.
 */
#pragma once

#include <stddef.h>

#include "api/exchange.h"

enum permission {
    PERMISSION_OPEN,   /* for everybody */
    PERMISSION_READ,   /* look at what is stored */
    PERMISSION_APPEND, /* add to channels of datasets, and wait for it */
    PERMISSION_WRITE,  /* store and delete */
    PERMISSION_ADMIN,  /* jobs and settings */
};

struct route {
    enum exchange_method method;
    const char *path; /* as in routes.def: the label of metrics and the access log */
    const char *name; /* of the resource */
    enum permission permission;
    enum body_kind body;
    const char *summary;
    const struct resource *resource;
};

struct route_match {
    const struct route *route;                /* NULL unless COFFER_OK */
    struct slice params[EXCHANGE_PARAMS_MAX]; /* in the order of the path, decoded */
    unsigned param_count;
    const char *allow; /* constant text; NULL with COFFER_NO_SUCH_PATH */
};

/* `path` begins with '/' and has no query. `scratch` has room for path.size bytes and lives as
 * long as the params; it may be NULL if the path has no '%'. */
MUST_USE enum coffer_status route_match(enum exchange_method method, struct slice path,
    char *scratch, struct route_match *match, struct error *err);

/* The same for an exchange: sets its route, params and allow. */
MUST_USE enum coffer_status route_find(struct exchange *exchange, struct error *err);

/* All rows of routes.def, in its order. */
const struct route *route_all(size_t *count);
const char *permission_name(enum permission permission); /* "open", "read", ... */
