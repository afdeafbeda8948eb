/*
 * Print a channel; with -f also what is added, until the dataset is closed.
 *
 *     tail [-f] URL DATASET CHANNEL [OFFSET]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/coffer.h"

int main(int argc, char **argv)
{
    struct coffer_channel_options options = {0};
    struct coffer_client *client;
    struct coffer_error err;
    FILE *stream;
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    int code = 3;

    if (argc > 1 && strcmp(argv[1], "-f") == 0) {
        options.follow = true;
        argv++;
        argc--;
    }
    if (argc < 4) {
        fprintf(stderr, "usage: tail [-f] URL DATASET CHANNEL [OFFSET]\n");
        return 2;
    }
    if (argc > 4)
        options.offset = strtoull(argv[4], NULL, 10);
    client = coffer_open(argv[1], NULL, &err);
    stream =
        client == NULL ? NULL : coffer_channel_open(client, argv[2], argv[3], "r", &options, &err);
    if (stream == NULL)
        goto failed;
    while ((size = getline(&line, &room, stream)) > 0) {
        fwrite(line, 1, (size_t)size, stdout);
        fflush(stdout); /* as soon as it is there */
    }
    code = coffer_stream_error(stream, &err) == 0 ? 0 : 3;
    fclose(stream);
failed:
    if (code != 0)
        fprintf(stderr, "%s: %s\n", err.code, err.detail);
    free(line);
    coffer_close(client);
    return code;
}
