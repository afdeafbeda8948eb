/*
 * fault_proxy.h - between a client and a real cofferd, a network that loses requests and answers,
 * cuts bodies, and now and then says 503: each with a chance of its own.
 *
 * Threads: any number of connections; change the chances only while nothing is under way.
 */
#pragma once

#include <stdint.h>

#include "tests/support/script_server.h"

struct fault_proxy {
    struct script_server server; /* server.url */
    char address[200];           /* of cofferd */
    /* In 1000 requests, so many: */
    unsigned lose_request, lose_answer, cut, busy;
    pthread_mutex_t lock;
    uint64_t dice;   /* (lock) */
    unsigned faults; /* (lock) that happened */
};

void fault_proxy_start(struct fault_proxy *proxy, const char *address, uint64_t seed);
void fault_proxy_stop(struct fault_proxy *proxy);
