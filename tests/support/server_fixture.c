#include "tests/support/server_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/base/digest.h"
#include "storage/base/invariant.h"

enum { ENVIRONMENT_MAX = 512, TREE_DEPTH = 16 };

static const char READY[] = " ready: listening on ";

static void die(struct server *server, const char *what) __attribute__((noreturn));

static void die(struct server *server, const char *what)
{
    (void)fprintf(stderr, "cofferd: %s\n", what);
    if (server->pid > 0)
        (void)kill(server->pid, SIGKILL);
    pthread_mutex_lock(&server->lock);
    (void)fwrite(server->log, 1, server->log_size, stderr);
    pthread_mutex_unlock(&server->lock);
    folder_remove(server->folder);
    exit(1);
}

void server_init(struct server *server, const char *const *args)
{
    const char *base = getenv("TMPDIR");
    pthread_condattr_t attributes;

    memset(server, 0, sizeof(*server));
    invariant(snprintf(server->folder, sizeof(server->folder), "%s/coffer-server-XXXXXX",
                  base == NULL ? "/tmp" : base) < (int)sizeof(server->folder));
    invariant(mkdtemp(server->folder) != NULL);
    (void)snprintf(server->data_dir, sizeof(server->data_dir), "%s/data", server->folder);
    server->listen = "127.0.0.1:0";
    for (size_t i = 0; args != NULL && args[i] != NULL; i++) {
        invariant(i + 1 < SERVER_ARGS_MAX);
        server->args[i] = args[i];
    }
    pthread_mutex_init(&server->lock, NULL);
    invariant(pthread_condattr_init(&attributes) == 0);
    invariant(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    pthread_cond_init(&server->grown, &attributes);
    pthread_condattr_destroy(&attributes);
    server->log = calloc(1, 1);
    invariant(server->log != NULL);
}

/* ---- the process ---- */

struct reading {
    struct server *server;
    int fd;
};

static void *read_log(void *context)
{
    struct reading reading = *(struct reading *)context;
    struct server *server = reading.server;
    char piece[4096];
    ssize_t size;

    free(context);
    while ((size = read(reading.fd, piece, sizeof(piece))) != 0) {
        if (size < 0 && errno == EINTR)
            continue;
        invariant(size > 0);
        pthread_mutex_lock(&server->lock);
        server->log = realloc(server->log, server->log_size + (size_t)size + 1);
        invariant(server->log != NULL);
        memcpy(server->log + server->log_size, piece, (size_t)size);
        server->log_size += (size_t)size;
        server->log[server->log_size] = '\0';
        pthread_cond_broadcast(&server->grown);
        pthread_mutex_unlock(&server->lock);
    }
    (void)close(reading.fd);
    pthread_mutex_lock(&server->lock);
    server->log_ended = true;
    pthread_cond_broadcast(&server->grown);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static void make_environment(const struct server *server, const char **out)
{
    size_t count = 0;

    for (char **each = environ; *each != NULL && count < ENVIRONMENT_MAX - 16; each++)
        if (strncmp(*each, "COFFER_", 7) != 0 || strncmp(*each, "COFFER_IO_METHOD=", 17) == 0)
            out[count++] = *each;
    for (size_t i = 0; server->env[i] != NULL; i++)
        out[count++] = server->env[i];
    out[count] = NULL;
}

/* exec wants its strings writable, but does not write. */
static char *const *not_const(const char *const *list)
{
    union {
        const char *const *in;
        char *const *out;
    } same = {.in = list};

    return same.out;
}

static void run_server(const struct server *server, const char *binary, const char **argv,
    const char **environment, int log_fd, pid_t parent)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;

    /* Whatever becomes of the test, its server goes with it. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (server->uid != 0 && (setgid((gid_t)server->uid) != 0 || setuid(server->uid) != 0))
        _exit(126);
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log_fd, 2) < 0)
        _exit(126);
    (void)execve(binary, not_const(argv), not_const(environment));
    _exit(127);
}

void server_spawn(struct server *server)
{
    const char *binary = getenv("COFFERD");
    const char *argv[SERVER_ARGS_MAX + 8], *environment[ENVIRONMENT_MAX];
    struct reading *reading = malloc(sizeof(*reading));
    pid_t parent = getpid();
    size_t count = 0;
    int fds[2];

    if (binary == NULL)
        die(server, "COFFERD does not name the server's binary");
    invariant(server->pid == 0 && !server->reading && reading != NULL);
    invariant(pipe2(fds, O_CLOEXEC) == 0);
    argv[count++] = "cofferd";
    if (!server->no_data_dir) {
        argv[count++] = "--data-dir";
        argv[count++] = server->data_dir;
    }
    if (server->listen != NULL) {
        argv[count++] = "--listen";
        argv[count++] = server->listen;
    }
    for (size_t i = 0; server->args[i] != NULL; i++)
        argv[count++] = server->args[i];
    argv[count] = NULL;
    make_environment(server, environment);
    server->run_start = server->log_size;
    server->log_ended = false;
    server->pid = fork();
    invariant(server->pid >= 0);
    if (server->pid == 0)
        run_server(server, binary, argv, environment, fds[1], parent);
    (void)close(fds[1]);
    *reading = (struct reading){server, fds[0]};
    invariant(pthread_create(&server->reader, NULL, read_log, reading) == 0);
    server->reading = true;
}

/* A SIGKILL or SIGTERM ends it, or it ends by itself: all of that takes little time. The deadline
 * is for a server that hangs. */
int server_wait(struct server *server)
{
    struct timespec until;
    int status = 0;

    invariant(server->pid > 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SERVER_DEADLINE_S;
    pthread_mutex_lock(&server->lock);
    while (!server->log_ended)
        if (pthread_cond_timedwait(&server->grown, &server->lock, &until) == ETIMEDOUT) {
            pthread_mutex_unlock(&server->lock);
            die(server, "it does not end");
        }
    pthread_mutex_unlock(&server->lock);
    while (waitpid(server->pid, &status, 0) < 0)
        invariant(errno == EINTR);
    (void)pthread_join(server->reader, NULL);
    server->reading = false;
    server->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool server_read_address(struct server *server)
{
    const char *text, *end;
    size_t size;

    if (!server_wait_log(server, READY))
        return false;
    pthread_mutex_lock(&server->lock);
    text = strstr(server->log + server->run_start, READY) + strlen(READY);
    end = text + strcspn(text, " \n");
    size = (size_t)(end - text);
    invariant(size < sizeof(server->address));
    memcpy(server->address, text, size);
    server->address[size] = '\0';
    pthread_mutex_unlock(&server->lock);
    return true;
}

void server_start(struct server *server)
{
    server_spawn(server);
    if (!server_read_address(server))
        die(server, "it did not become ready");
}

int server_run(struct server *server)
{
    server_spawn(server);
    if (server_wait_log(server, READY)) {
        server_kill(server);
        return -1;
    }
    return server_wait(server);
}

int server_stop(struct server *server)
{
    (void)kill(server->pid, SIGTERM);
    return server_wait(server);
}

void server_kill(struct server *server)
{
    (void)kill(server->pid, SIGKILL);
    (void)server_wait(server);
}

/* ---- what it said ---- */

bool server_log_has(struct server *server, const char *text)
{
    bool found;

    pthread_mutex_lock(&server->lock);
    found = strstr(server->log + server->run_start, text) != NULL;
    pthread_mutex_unlock(&server->lock);
    return found;
}

unsigned server_log_lines(struct server *server)
{
    unsigned lines = 0;

    pthread_mutex_lock(&server->lock);
    for (const char *at = server->log + server->run_start; *at != '\0'; at++)
        lines += *at == '\n';
    pthread_mutex_unlock(&server->lock);
    return lines;
}

char *server_log_copy(struct server *server)
{
    char *copy;

    pthread_mutex_lock(&server->lock);
    copy = strdup(server->log + server->run_start);
    pthread_mutex_unlock(&server->lock);
    invariant(copy != NULL);
    return copy;
}

bool server_wait_log(struct server *server, const char *text)
{
    struct timespec until;
    bool found = false, late = false;
    size_t looked = server->run_start; /* whole lines before it have no `text` */

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SERVER_DEADLINE_S;
    pthread_mutex_lock(&server->lock);
    for (;;) {
        const char *last = strrchr(server->log + looked, '\n');

        if (last != NULL) {
            const char *at = strstr(server->log + looked, text);

            found = at != NULL && at < last; /* in a line that is whole */
            if (!found && at == NULL)
                looked = (size_t)(last - server->log) + 1;
        }
        if (found || server->log_ended || late)
            break;
        late = pthread_cond_timedwait(&server->grown, &server->lock, &until) == ETIMEDOUT;
    }
    pthread_mutex_unlock(&server->lock);
    return found;
}

int server_end(struct server *server, int failed)
{
    int code = server->pid > 0 ? server_stop(server) : 0;

    if (code != 0)
        (void)fprintf(stderr, "cofferd ended with %d\n", code);
    if (failed != 0 || code != 0) {
        (void)fprintf(stderr, "---- standard error of cofferd ----\n");
        (void)fwrite(server->log, 1, server->log_size, stderr);
        (void)fprintf(stderr, "---- end ----\n");
    }
    folder_remove(server->folder);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->grown);
    free(server->log);
    server->log = NULL;
    return failed != 0 || code != 0;
}

/* ---- folders ---- */

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void folder_remove(const char *path)
{
    (void)nftw(path, remove_entry, TREE_DEPTH, FTW_DEPTH | FTW_PHYS);
}

static uint64_t fingerprint;
static size_t fingerprint_root;

static void mix(const void *data, size_t size)
{
    struct digest digest;
    uint64_t part;

    sha256_once(data, size, &digest);
    memcpy(&part, digest.bytes, sizeof(part));
    fingerprint = fingerprint * 31 + part;
}

static int mix_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    struct {
        uint64_t size, mode;
        int64_t changed_s, changed_ns;
    } meta = {(uint64_t)info->st_size, info->st_mode, info->st_mtim.tv_sec, info->st_mtim.tv_nsec};
    char *content;
    FILE *file;

    (void)where;
    if (kind == FTW_F) {
        content = malloc((size_t)info->st_size + 1);
        file = fopen(path, "rb");
        invariant(content != NULL && file != NULL);
        mix(content, fread(content, 1, (size_t)info->st_size, file));
        (void)fclose(file);
        free(content);
    }
    mix(path + fingerprint_root, strlen(path + fingerprint_root));
    mix(&meta, sizeof(meta));
    return 0;
}

uint64_t folder_fingerprint(const char *path)
{
    fingerprint = 0;
    fingerprint_root = strlen(path);
    invariant(nftw(path, mix_entry, TREE_DEPTH, FTW_PHYS) == 0);
    return fingerprint;
}
