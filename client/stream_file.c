#include "client/stream_file.h"

#include <pthread.h>
#include <stdlib.h>

#include "client/failure.h"

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct stream_file *table; /* (table_lock) */

FILE *stream_file_open(struct stream_file *stream, const char *mode,
    cookie_io_functions_t functions, size_t buffer_size)
{
    char *buffer = malloc(buffer_size);
    FILE *file = buffer == NULL ? NULL : fopencookie(stream, mode, functions);

    if (file == NULL) {
        free(buffer);
        return NULL;
    }
    (void)setvbuf(file, buffer, _IOFBF, buffer_size);
    stream->buffer = buffer;
    stream->file = file;
    pthread_mutex_lock(&table_lock);
    stream->next = table;
    table = stream;
    pthread_mutex_unlock(&table_lock);
    return file;
}

void stream_file_forget(struct stream_file *stream)
{
    struct stream_file **at = &table;

    pthread_mutex_lock(&table_lock);
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    pthread_mutex_unlock(&table_lock);
    free(stream->buffer);
}

struct stream_file *stream_file_find(FILE *file)
{
    struct stream_file *found;

    pthread_mutex_lock(&table_lock);
    for (found = table; found != NULL && found->file != file; found = found->next)
        ;
    pthread_mutex_unlock(&table_lock);
    return found;
}

int coffer_stream_error(FILE *file, struct coffer_error *err)
{
    struct stream_file *stream = stream_file_find(file);
    int result;

    if (stream == NULL)
        return failure(err, "bad_argument", "this FILE is not a stream of libcoffer");
    flockfile(file);
    result = stream->error(stream, err);
    funlockfile(file);
    return result;
}
