#include "api/notify.h"

#include <curl/curl.h>
#include <string.h>

#include "storage/base/invariant.h"

void notify_init(void)
{
    invariant(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

void notify_release(void)
{
    curl_global_cleanup();
}

/* What is answered does not matter, only that it is. */
static size_t drop_body(char *data, size_t size, size_t count, void *context)
{
    (void)data;
    (void)context;
    return size * count;
}

static int look_for_stop(
    void *context, curl_off_t total, curl_off_t done, curl_off_t up_total, curl_off_t up)
{
    struct notify_caller *caller = context;

    (void)total;
    (void)done;
    (void)up_total;
    (void)up;
    return caller->stopping(caller->context) ? 1 : 0;
}

static struct curl_slist *make_headers(void)
{
    static const char *const lines[] = {"Content-Type: application/json", "Expect:"};
    struct curl_slist *headers = NULL;

    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        headers = curl_slist_append(headers, lines[i]);
        invariant(headers != NULL);
    }
    return headers;
}

static CURL *make_request(const char *url, struct slice json, struct notify_caller *caller,
    struct curl_slist *headers, char text[CURL_ERROR_SIZE])
{
    CURL *curl = curl_easy_init();

    invariant(curl != NULL);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)NOTIFY_REDIRECTS_MAX);
    (void)curl_easy_setopt(curl, CURLOPT_POSTREDIR, (long)CURL_REDIR_POST_ALL);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "coffer/" COFFER_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)json.size);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, json.data);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)NOTIFY_CONNECT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)NOTIFY_ANSWER_MS);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_body);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_for_stop);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, caller);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
    return curl;
}

/* One try. */
static enum coffer_status post(const char *url, struct slice json, struct notify_caller *caller,
    struct notify_result *result, struct error *err)
{
    struct curl_slist *headers = make_headers();
    char text[CURL_ERROR_SIZE] = "";
    CURL *curl = make_request(url, json, caller, headers, text);
    CURLcode code = curl_easy_perform(curl);
    long answer = 0;

    if (code == CURLE_OK)
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    result->answer = (int)answer;
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return error_set(err, COFFER_DRAINING, "stopped while it was sent");
    if (code != CURLE_OK)
        return error_set(
            err, COFFER_NOTIFY_FAILED, "%s", text[0] != '\0' ? text : curl_easy_strerror(code));
    if (answer < 200 || answer > 299)
        return error_set(err, COFFER_NOTIFY_FAILED, "it was answered with %ld", answer);
    return COFFER_OK;
}

enum coffer_status notify_send(const char *url, struct slice json, uint64_t delay_ns,
    struct notify_caller *caller, struct notify_result *result, struct error *err)
{
    enum coffer_status status;

    *result = (struct notify_result){.tries = 0};
    for (;;) {
        if (caller->stopping(caller->context))
            return error_set(err, COFFER_DRAINING, "stopped before it was sent");
        result->tries++;
        status = post(url, json, caller, result, err);
        if (status != COFFER_NOTIFY_FAILED || result->tries == NOTIFY_TRIES)
            return status;
        if (!caller->wait(caller->context, delay_ns << (result->tries - 1)))
            return error_set(err, COFFER_DRAINING, "stopped after %u tries", result->tries);
    }
}
