#include "server/host_guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

void host_guard_init(
    struct host_guard *guard, bool active, const struct listener *listeners, size_t count)
{
    memset(guard, 0, sizeof(*guard));
    guard->active = active;
    for (size_t i = 0; i < count && i < HOST_GUARD_MAX; i++) {
        const struct listen_address *address = &listeners[i].address;

        if (address->at.any.sa_family == AF_INET)
            guard->v4[guard->v4_count++] = address->at.v4.sin_addr;
        else if (address->at.any.sa_family == AF_INET6)
            guard->v6[guard->v6_count++] = address->at.v6.sin6_addr;
    }
}

static bool v4_allowed(const struct host_guard *guard, struct in_addr address)
{
    if (ntohl(address.s_addr) >> 24 == 127)
        return true;
    for (size_t i = 0; i < guard->v4_count; i++)
        if (guard->v4[i].s_addr == address.s_addr)
            return true;
    return false;
}

static bool v6_allowed(const struct host_guard *guard, const struct in6_addr *address)
{
    if (IN6_IS_ADDR_LOOPBACK(address))
        return true;
    for (size_t i = 0; i < guard->v6_count; i++)
        if (IN6_ARE_ADDR_EQUAL(&guard->v6[i], address))
            return true;
    return false;
}

/* ":PORT" or nothing. */
static bool is_port(const char *text, size_t size)
{
    if (size == 0)
        return true;
    for (size_t i = 1; i < size; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return text[0] == ':' && size <= 6;
}

static bool authority_allowed(const struct host_guard *guard, const char *text, size_t size)
{
    static const char localhost[] = "localhost";
    char name[INET6_ADDRSTRLEN + 1];
    struct in6_addr v6;
    struct in_addr v4;
    const char *end;
    size_t length;

    if (size > 0 && text[0] == '[') {
        end = memchr(text, ']', size);
        if (end == NULL || (size_t)(end - text) > sizeof(name))
            return false;
        length = (size_t)(end - text) - 1;
        memcpy(name, text + 1, length);
        name[length] = '\0';
        return is_port(end + 1, size - length - 2) && inet_pton(AF_INET6, name, &v6) == 1 &&
               v6_allowed(guard, &v6);
    }
    end = memchr(text, ':', size);
    length = end == NULL ? size : (size_t)(end - text);
    if (length >= sizeof(name) || !is_port(text + length, size - length))
        return false;
    if (length == sizeof(localhost) - 1 && strncasecmp(text, localhost, length) == 0)
        return true;
    memcpy(name, text, length);
    name[length] = '\0';
    return inet_pton(AF_INET, name, &v4) == 1 && v4_allowed(guard, v4);
}

bool host_guard_allows(const struct host_guard *guard, struct slice host, struct slice origin)
{
    const char *text = origin.data;

    if (!guard->active)
        return true;
    if (host.data != NULL && !authority_allowed(guard, host.data, host.size))
        return false;
    if (text == NULL)
        return true;
    if (origin.size > 7 && strncasecmp(text, "http://", 7) == 0)
        return authority_allowed(guard, text + 7, origin.size - 7);
    if (origin.size > 8 && strncasecmp(text, "https://", 8) == 0)
        return authority_allowed(guard, text + 8, origin.size - 8);
    return false; /* "null" too: a page that hides where it is from */
}
