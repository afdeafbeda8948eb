#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "client/client_parts.h"
#include "client/failure.h"

static const char DEFAULT_URL[] = "http://127.0.0.1:8420";

const char *coffer_version(void)
{
    return COFFER_VERSION;
}

/* ---- the clock ---- */

static uint64_t real_now_ms(void *context)
{
    struct timespec now;

    (void)context;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void real_pause_ms(void *context, uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)context;
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

uint64_t client_random(struct coffer_client *client, uint64_t limit)
{
    uint64_t value;

    pthread_mutex_lock(&client->lock); /* xorshift64 */
    client->random ^= client->random << 13;
    client->random ^= client->random >> 7;
    client->random ^= client->random << 17;
    value = client->random;
    pthread_mutex_unlock(&client->lock);
    return value % limit;
}

/* ---- open and close ---- */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void start_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_ALL);
}

static bool set_address(struct coffer_client *client, const char *url)
{
    size_t size;

    if (strncmp(url, "unix:", 5) == 0) {
        client->socket = strdup(url + 5);
        client->url = strdup("http://localhost");
        return client->socket != NULL && client->url != NULL;
    }
    client->url = strdup(url);
    if (client->url == NULL)
        return false;
    for (size = strlen(client->url); size > 0 && client->url[size - 1] == '/'; size--)
        client->url[size - 1] = '\0';
    return true;
}

static bool copy_option(char **out, const char *option)
{
    if (option != NULL)
        *out = strdup(option);
    return option == NULL || *out != NULL;
}

static bool set_options(struct coffer_client *client, const struct coffer_options *options)
{
    client->connect_timeout =
        options->connect_timeout != 0 ? options->connect_timeout : CONNECT_TIMEOUT_S;
    client->timeout = options->timeout != 0 ? options->timeout : TIMEOUT_S;
    client->patience_ms = 0;
    client->impatient = options->impatient;
    if (!options->no_retry)
        client->patience_ms =
            UINT64_C(1000) * (options->patience != 0 ? options->patience : PATIENCE_S);
    return copy_option(&client->key, options->key) &&
           copy_option(&client->ca_file, options->ca_file) &&
           copy_option(&client->user_agent,
               options->user_agent != NULL ? options->user_agent : "libcoffer/" COFFER_VERSION);
}

struct coffer_client *coffer_open(
    const char *url, const struct coffer_options *options, struct coffer_error *err)
{
    static const struct coffer_options defaults;
    struct coffer_client *client;

    url = url != NULL ? url : DEFAULT_URL;
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0 &&
        strncmp(url, "unix:", 5) != 0) {
        (void)failure(err, "bad_argument", "%s is not http://, https:// or unix:", url);
        return NULL;
    }
    (void)pthread_once(&curl_once, start_curl);
    client = curl_ready == CURLE_OK ? calloc(1, sizeof(*client)) : NULL;
    if (client == NULL) {
        (void)failure(err, "no_memory", "no memory for a client");
        return NULL;
    }
    pthread_mutex_init(&client->lock, NULL);
    client->clock = (struct client_clock){.now_ms = real_now_ms, .pause_ms = real_pause_ms};
    if (getrandom(&client->random, sizeof(client->random), 0) != sizeof(client->random))
        client->random = real_now_ms(NULL);
    client->random |= 1;
    if (!set_address(client, url) || !set_options(client, options == NULL ? &defaults : options)) {
        coffer_close(client);
        (void)failure(err, "no_memory", "no memory for a client");
        return NULL;
    }
    return client;
}

static void connection_close(struct connection *connection)
{
    (void)curl_multi_cleanup(connection->multi);
    curl_easy_cleanup(connection->easy);
    free(connection);
}

void coffer_close(struct coffer_client *client)
{
    struct connection *next;

    if (client == NULL)
        return;
    for (struct connection *each = client->idle; each != NULL; each = next) {
        next = each->next;
        connection_close(each);
    }
    pthread_mutex_destroy(&client->lock);
    free(client->url);
    free(client->socket);
    free(client->key);
    free(client->ca_file);
    free(client->user_agent);
    free(client);
}

/* ---- connections ---- */

struct connection *connection_take(struct coffer_client *client)
{
    struct connection *connection;

    pthread_mutex_lock(&client->lock);
    connection = client->idle;
    if (connection != NULL) {
        client->idle = connection->next;
        client->idle_count--;
    }
    pthread_mutex_unlock(&client->lock);
    if (connection != NULL)
        return connection;
    connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        return NULL;
    connection->easy = curl_easy_init();
    connection->multi = curl_multi_init();
    if (connection->easy == NULL || connection->multi == NULL) {
        connection_close(connection);
        return NULL;
    }
    return connection;
}

void connection_give(struct coffer_client *client, struct connection *connection, bool reusable)
{
    bool kept = false;

    if (reusable) {
        curl_easy_reset(connection->easy);
        pthread_mutex_lock(&client->lock);
        kept = client->idle_count < IDLE_CONNECTIONS_MAX;
        if (kept) {
            connection->next = client->idle;
            client->idle = connection;
            client->idle_count++;
        }
        pthread_mutex_unlock(&client->lock);
    }
    if (!kept)
        connection_close(connection);
}
