#include "tests/support/deed_child.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"

enum { PIPE_FD = 3 };

struct note { /* what goes through the pipe */
    uint32_t index;
    bool answered; /* false: about to do it */
    struct deed_answer answer;
};

void deed_script_add(struct deed_script *script, struct deed deed)
{
    invariant(script->count < DEEDS_MAX);
    script->deeds[script->count++] = deed;
}

void deed_child_options(struct store_options *options, const char *dir)
{
    const char *method = getenv("COFFER_IO_METHOD");

    store_options_default(options);
    options->data_dir = dir;
    options->memory_limit = 48 << 20;
    options->pack_size = 2 << 20;
    options->reserve_space = 0;
    options->default_channels = 3;
    options->channels_max = 8;
    options->flush_interval_ns = 20000000;
    options->index_cache_size = 1 << 20;
    options->io_method = method != NULL && strcmp(method, "sync") == 0 ? IO_SYNC : IO_AUTO;
}

/* ---- the child ---- */

struct user {
    struct store *store;
    const struct deed_script *script;
    const char *faults;
    unsigned set;
};

static void tell(uint32_t index, const struct deed_answer *answer)
{
    struct note note;

    memset(&note, 0, sizeof(note)); /* its padding too goes into the pipe */
    note.index = index;
    note.answered = answer != NULL;
    if (answer != NULL)
        note.answer = *answer;
    if (write(PIPE_FD, &note, sizeof(note)) != sizeof(note))
        _exit(3);
}

/* The deeds of one set, in their order. */
static void *use(void *context)
{
    struct user *user = context;

    for (uint32_t i = 0; i < user->script->count; i++) {
        const struct deed *deed = &user->script->deeds[i];
        struct deed_answer answer;

        if (deed->set != user->set)
            continue;
        if (i == user->script->arm_at && fault_configure(user->faults, NULL) != COFFER_OK)
            _exit(4);
        tell(i, NULL);
        answer = deed_do(user->store, deed);
        tell(i, &answer);
    }
    return NULL;
}

static int child(char **argv)
{
    static struct deed_script script;
    struct store_options options;
    struct user users[BOOK_SETS];
    pthread_t threads[BOOK_SETS];
    struct store *store;
    bool only_open = strcmp(argv[5], "open") == 0;
    size_t size;
    uint8_t *bytes;

    log_configure(LOG_ERROR, false);
    deed_child_options(&options, argv[2]);
    if (only_open && fault_configure(argv[4], NULL) != COFFER_OK)
        return 4;
    if (store_open(&options, &store, NULL) != COFFER_OK)
        return 5;
    if (only_open)
        return store_close(store, NULL) == COFFER_OK ? 0 : 6;
    bytes = file_bytes(argv[3], &size);
    invariant(size == sizeof(script));
    memcpy(&script, bytes, size);
    free(bytes);
    for (unsigned i = 0; i < BOOK_SETS; i++) {
        users[i] = (struct user){store, &script, argv[4], i};
        invariant(pthread_create(&threads[i], NULL, use, &users[i]) == 0);
    }
    for (unsigned i = 0; i < BOOK_SETS; i++)
        pthread_join(threads[i], NULL);
    return store_close(store, NULL) == COFFER_OK ? 0 : 6;
}

bool deed_child_main(int argc, char **argv, int *code)
{
    if (argc != 6 || strcmp(argv[1], "child") != 0)
        return false;
    *code = child(argv);
    return true;
}

/* ---- the parent ---- */

static pid_t start(const struct store_fixture *fixture, const struct deed_script *script,
    const char *faults, enum deed_child_work work, int *pipe_end)
{
    extern char **environ;
    char path[] = "/proc/self/exe", name[] = "child", dir[FIXTURE_PATH_SIZE];
    char file[FIXTURE_PATH_SIZE + 80], faults_text[64], what[8];
    char *argv[] = {path, name, dir, file, faults_text, what, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];
    pid_t pid;

    memcpy(dir, fixture->data_dir, sizeof(dir));
    (void)snprintf(file, sizeof(file), "%s", fixture_path(fixture, "script"));
    file_put_bytes(file, script, sizeof(*script));
    (void)snprintf(faults_text, sizeof(faults_text), "%s", faults);
    (void)snprintf(what, sizeof(what), work == CHILD_OPENS ? "open" : "use");
    invariant(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], PIPE_FD);
    invariant(posix_spawn(&pid, path, &actions, NULL, argv, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *pipe_end = ends[0];
    return pid;
}

bool deed_child_run(const struct store_fixture *fixture, const struct deed_script *script,
    const char *faults, enum deed_child_work work, unsigned kill_after,
    void (*told)(void *context, uint32_t index, const struct deed_answer *answer), void *context)
{
    struct note note;
    unsigned answers = 0;
    int result, pipe_end;
    pid_t pid = start(fixture, script, faults, work, &pipe_end);

    while (read(pipe_end, &note, sizeof(note)) == sizeof(note)) {
        told(context, note.index, note.answered ? &note.answer : NULL);
        answers += note.answered;
        if (note.answered && answers == kill_after)
            invariant(kill(pid, SIGKILL) == 0);
    }
    close(pipe_end);
    invariant(waitpid(pid, &result, 0) == pid);
    if (!WIFSIGNALED(result)) {
        assert_int_equal(WEXITSTATUS(result), 0);
        return false;
    }
    assert_int_equal(WTERMSIG(result), SIGKILL);
    return true;
}
