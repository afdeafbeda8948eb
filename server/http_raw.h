/*
 * http_raw.h - write a small reply straight to a socket, for the two moments at which libmicrohttpd
 * cannot be asked to: in the middle of a body, and when it could not read the request line.
 *
 * The connection is to be closed afterwards ("Connection: close" is added).
 */
#pragma once

#include <stdbool.h>

#include "api/exchange.h"

/* False: the reply is no small one in memory, or the socket did not take it. */
bool http_raw_reply(int fd, const struct reply *reply);
