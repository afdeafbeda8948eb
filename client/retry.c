#include "client/retry.h"

void retry_init(struct retry *retry, struct coffer_client *client)
{
    *retry = (struct retry){.client = client};
}

void retry_reset(struct retry *retry)
{
    retry->tries = 0;
}

static uint64_t pause_length(struct retry *retry, unsigned retry_after_s)
{
    uint64_t longest = RETRY_FIRST_MS, least = UINT64_C(1000) * retry_after_s, pause;

    for (unsigned i = 0; i < retry->tries && longest < RETRY_MAX_MS; i++)
        longest *= 2;
    longest = longest < RETRY_MAX_MS ? longest : RETRY_MAX_MS;
    pause = longest - client_random(retry->client, longest / 2 + 1);
    return pause > least ? pause : least;
}

bool retry_pause(struct retry *retry, unsigned retry_after_s)
{
    const struct client_clock *clock = &retry->client->clock;
    uint64_t now = clock->now_ms(clock->context), pause;

    if (retry->client->impatient && !atomic_load(&retry->client->reached))
        return false;
    if (retry->tries == 0)
        retry->started_ms = now;
    pause = pause_length(retry, retry_after_s);
    if (now - retry->started_ms + pause > retry->client->patience_ms)
        return false;
    retry->tries++;
    clock->pause_ms(clock->context, pause);
    return true;
}
