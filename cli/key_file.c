#include "cli/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

enum { KEY_FILE_MODE = 0600 };

static int lock_folder(struct key_file *file)
{
    const char *slash = strrchr(file->name, '/');

    if (slash == NULL)
        file->folder = strdup(".");
    else
        file->folder = strndup(file->name, (size_t)(slash - file->name) + 1);
    if (file->folder == NULL)
        return cli_no_memory();
    file->folder_fd = open(file->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file->folder_fd < 0 || flock(file->folder_fd, LOCK_EX) != 0)
        return cli_errno(file->folder);
    return CLI_DONE;
}

static int read_keys(struct key_file *file, int make)
{
    FILE *in = fopen(file->name, "re");
    json_error_t reason;

    if (in == NULL && errno == ENOENT && make != 0) {
        file->root = json_pack("{s:[]}", "keys");
    } else if (in == NULL) {
        return cli_errno(file->name);
    } else {
        file->root = json_loadf(in, JSON_REJECT_DUPLICATES, &reason);
        (void)fclose(in);
        if (file->root == NULL)
            return cli_say(CLI_BROKEN, "%s:%d: %s", file->name, reason.line, reason.text);
    }
    file->keys = json_object_get(file->root, "keys");
    if (!json_is_array(file->keys))
        return cli_say(CLI_BROKEN, "%s: is no keys file: it has no list \"keys\"", file->name);
    return CLI_DONE;
}

int key_file_open(struct key_file *file, const char *name, int make)
{
    int code;

    *file = (struct key_file){.name = name, .folder_fd = -1};
    code = lock_folder(file);
    if (code == CLI_DONE)
        code = read_keys(file, make);
    if (code != CLI_DONE)
        key_file_close(file);
    return code;
}

size_t key_file_find(const struct key_file *file, const char *id)
{
    size_t i;

    for (i = 0; i < json_array_size(file->keys); i++)
        if (strcmp(json_member(json_array_get(file->keys, i), "id"), id) == 0)
            break;
    return i;
}

int key_file_write(struct key_file *file)
{
    char *temporary;
    FILE *out;
    int fd, code = CLI_DONE;
    bool good;

    if (asprintf(&temporary, "%s.new", file->name) < 0)
        return cli_no_memory();
    (void)unlink(temporary); /* of somebody who was killed: we have the lock */
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, KEY_FILE_MODE);
    out = fd < 0 ? NULL : fdopen(fd, "w");
    good = out != NULL && fchmod(fd, KEY_FILE_MODE) == 0 &&
           json_dumpf(file->root, out, JSON_INDENT(2)) == 0 && fputc('\n', out) != EOF &&
           fflush(out) == 0 && fsync(fd) == 0;
    if (!good || rename(temporary, file->name) != 0 || fsync(file->folder_fd) != 0) {
        code = cli_worse(CLI_BROKEN, cli_errno(file->name));
        (void)unlink(temporary);
    }
    if (out != NULL)
        (void)fclose(out);
    else if (fd >= 0)
        (void)close(fd);
    free(temporary);
    return code;
}

void key_file_close(struct key_file *file)
{
    json_decref(file->root);
    if (file->folder_fd >= 0)
        (void)close(file->folder_fd); /* and with it the lock */
    free(file->folder);
}
