#include "cli/hashed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/progress.h"

enum { SOURCE_BUFFER = 256 * 1024, SINK_BUFFER = 64 * 1024 };

/* ---- reading ---- */

static void begin_hash(struct hashed_source *source)
{
    sha256_release(&source->sha);
    sha256_init(&source->sha);
    source->hashed = 0;
}

static ssize_t read_source(void *cookie, char *out, size_t size)
{
    struct hashed_source *source = cookie;
    ssize_t got;

    do
        got = read(source->fd, out, size);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got;
    if (source->position == 0)
        begin_hash(source);
    if (source->position == source->hashed) {
        sha256_update(&source->sha, out, (size_t)got);
        source->hashed += (uint64_t)got;
    }
    source->position += (uint64_t)got;
    if (source->position > source->shown) {
        progress_add(source->position - source->shown);
        source->shown = source->position;
    }
    return got;
}

static int seek_source(void *cookie, off64_t *position, int origin)
{
    struct hashed_source *source = cookie;
    off64_t at = lseek(source->fd, *position, origin);

    if (at < 0)
        return -1;
    source->position = (uint64_t)at;
    *position = at;
    return 0;
}

bool hashed_source_open(struct hashed_source *source, int fd)
{
    static const cookie_io_functions_t functions = {.read = read_source, .seek = seek_source};

    *source = (struct hashed_source){.fd = fd};
    sha256_init(&source->sha);
    source->file = fopencookie(source, "r", functions);
    if (source->file != NULL)
        (void)setvbuf(source->file, NULL, _IOFBF, SOURCE_BUFFER);
    return source->file != NULL;
}

bool hashed_source_digest(struct hashed_source *source, struct digest *out)
{
    if (source->hashed != source->position)
        return false;
    sha256_final(&source->sha, out);
    return true;
}

void hashed_source_close(struct hashed_source *source)
{
    if (source->file != NULL)
        (void)fclose(source->file);
    sha256_release(&source->sha);
}

/* ---- writing ---- */

static FILE *create_beside(const char *name, char **temporary)
{
    uint8_t random[4];
    char text[2 * sizeof(random) + 1];
    FILE *out;
    int fd;

    random_bytes(random, sizeof(random));
    hex_encode(random, sizeof(random), text);
    if (asprintf(temporary, "%s.%s.part", name, text) < 0) {
        *temporary = NULL;
        return NULL;
    }
    fd = open(*temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    out = fd < 0 ? NULL : fdopen(fd, "w");
    if (out != NULL)
        return out;
    if (fd >= 0) {
        (void)close(fd);
        (void)unlink(*temporary);
    }
    free(*temporary);
    *temporary = NULL;
    return NULL;
}

int hashed_sink_open(struct hashed_sink *sink, const char *name)
{
    struct stat there;

    *sink = (struct hashed_sink){.name = name == NULL ? "standard output" : name};
    if (name == NULL)
        sink->out = stdout;
    else if (stat(name, &there) == 0 && !S_ISREG(there.st_mode))
        sink->out = fopen(name, "we");
    else
        sink->out = create_beside(name, &sink->temporary);
    if (sink->out == NULL)
        return cli_worse(CLI_BROKEN, cli_errno(name));
    sha256_init(&sink->sha);
    return CLI_DONE;
}

bool hashed_sink_write(struct hashed_sink *sink, const void *data, size_t size)
{
    if (fwrite(data, 1, size, sink->out) != size)
        return false;
    sha256_update(&sink->sha, data, size);
    progress_add(size);
    return true;
}

static ssize_t write_sink(void *cookie, const char *data, size_t size)
{
    return hashed_sink_write(cookie, data, size) ? (ssize_t)size : 0;
}

FILE *hashed_sink_file(struct hashed_sink *sink)
{
    static const cookie_io_functions_t functions = {.write = write_sink};
    FILE *file = fopencookie(sink, "w", functions);

    if (file != NULL)
        (void)setvbuf(file, NULL, _IOFBF, SINK_BUFFER);
    return file;
}

void hashed_sink_digest(struct hashed_sink *sink, struct digest *out)
{
    sha256_final(&sink->sha, out);
}

int hashed_sink_close(struct hashed_sink *sink, int code)
{
    int flushed = sink->out == stdout ? fflush(stdout) : fclose(sink->out);

    if (flushed != 0 && code == CLI_DONE)
        code = cli_worse(CLI_BROKEN, cli_errno(sink->name));
    if (sink->temporary != NULL && code == CLI_DONE && rename(sink->temporary, sink->name) != 0)
        code = cli_worse(CLI_BROKEN, cli_errno(sink->name));
    if (sink->temporary != NULL && code != CLI_DONE)
        (void)unlink(sink->temporary);
    free(sink->temporary);
    sha256_release(&sink->sha);
    return code;
}
