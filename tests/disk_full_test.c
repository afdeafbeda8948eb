/*
 * Goal: on a full disk writes get 507 disk_full, reads and deletions go on, nothing acknowledged is
 * lost, and the store goes on by itself when there is space again. Method: a small tmpfs of its own
 * as the disk, filled under load and from outside, emptied and grown, in a mount namespace that
 * goes away with the test. Needs the right to mount; else it is skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/http_check.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

enum {
    SKIPPED = 77,
    BALLAST = 12 << 20, /* what is taken from outside, and given back */
    THREADS = 4,
    SLOTS = 400, /* a thread's chunks, more than fit */
    SIZE = 100000,
    RECOVERS_S = 60,
};

static struct server server;
static char disk[300], ballast[300];

struct filler {
    pthread_t thread;
    size_t number, stored;
    int last_status;
    char keys[SLOTS][DIGEST_HEX_SIZE + 1];
};

static bool disk_mount(const char *options)
{
    return mount("tmpfs", disk, "tmpfs", 0, options) == 0;
}

/* A mount namespace of our own, so that nothing stays mounted whatever happens. */
static bool may_mount(void)
{
    char folder[] = "/tmp/coffer-mount-XXXXXX";
    bool may;

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mkdtemp(folder) == NULL)
        return false;
    may = mount("tmpfs", folder, "tmpfs", 0, "size=1m") == 0 && umount(folder) == 0;
    (void)rmdir(folder);
    return may;
}

static void take_space(uint64_t bytes)
{
    int fd = open(ballast, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)bytes), 0);
    (void)close(fd);
}

/* All that is left. */
static void take_all_space(void)
{
    static char zeros[65536];
    int fd = open(ballast, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    while (write(fd, zeros, 1) > 0)
        ;
    (void)close(fd);
}

static void give_space(void)
{
    assert_int_equal(unlink(ballast), 0);
}

static int setup(void **state)
{
    (void)state;
    server_init(&server, (const char *const[]){"--pack-size", "4MiB", "--segment-size", "1MiB",
                             "--reserve-space", "8MiB", "--flush-interval", "10ms", NULL});
    (void)snprintf(disk, sizeof(disk), "%s/disk", server.folder);
    (void)snprintf(ballast, sizeof(ballast), "%s/disk/ballast", server.folder);
    (void)snprintf(server.data_dir, sizeof(server.data_dir), "%s/disk/store", server.folder);
    assert_int_equal(mkdir(disk, 0755), 0);
    assert_true(disk_mount("size=64m"));
    return 0;
}

static int teardown(void **state)
{
    int failed;

    (void)state;
    failed = server.pid > 0 && server_stop(&server) != 0;
    (void)umount2(disk, MNT_DETACH);
    return server_end(&server, failed);
}

/* ---- the load ---- */

static uint64_t seed_of(const struct filler *filler, size_t index)
{
    return (filler->number * SLOTS + index) * 2; /* even: noise, which stays as large as it is */
}

/* Put until one is refused; what was acknowledged is in keys. */
static void *fill(void *context)
{
    struct filler *filler = context;
    struct http_client *client = http_client_create(server.address);

    filler->last_status = 201;
    while (filler->last_status == 201 && filler->stored < SLOTS) {
        char *key = filler->keys[filler->stored], path[100];
        char *content = seed_content(SIZE, seed_of(filler, filler->stored), key);
        struct http_answer answer;

        (void)snprintf(path, sizeof(path), "/v1/chunks/%s", key);
        http_send(client,
            &(struct http_request){.method = "PUT", .path = path, .body = content, .size = SIZE},
            &answer);
        filler->last_status = answer.status;
        filler->stored += answer.status == 201;
        http_answer_release(&answer);
        free(content);
    }
    http_client_destroy(client);
    return NULL;
}

static void fill_disk(struct filler *fillers)
{
    for (size_t i = 0; i < THREADS; i++) {
        fillers[i].number = i;
        assert_int_equal(pthread_create(&fillers[i].thread, NULL, fill, &fillers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(fillers[i].thread, NULL), 0);
}

static void check_all_there(struct http_client *client, const struct filler *fillers)
{
    for (size_t i = 0; i < THREADS; i++)
        for (size_t n = 0; n < fillers[i].stored; n++) {
            char key[DIGEST_HEX_SIZE + 1], path[100];
            char *content = seed_content(SIZE, seed_of(&fillers[i], n), key);
            struct http_answer answer;

            (void)snprintf(path, sizeof(path), "/v1/chunks/%s", key);
            CHECK_SEND(client, 200, &answer, .path = path);
            check_body(&answer, content, SIZE);
            http_answer_release(&answer);
            free(content);
        }
}

/* Until `path` answers `status`; without a word to the server that there is space. */
static void check_becomes(
    struct http_client *client, const struct http_request *request, int status)
{
    uint64_t until = clock_monotonic_ns() + (uint64_t)RECOVERS_S * NS_PER_S;
    const struct timespec pause = clock_timespec(10 * NS_PER_MS);
    int last;

    do {
        struct http_answer answer;

        (void)nanosleep(&pause, NULL); /* poll: the server's view of the disk */
        http_send(client, request, &answer);
        last = answer.status;
        http_answer_release(&answer);
    } while (last != status && clock_monotonic_ns() < until);
    assert_int_equal(last, status);
}

/* Each lane may have some room left in what it took from the disk before: use all of it up. */
static void use_up_rest(struct http_client *client)
{
    uint64_t seed = 1000000; /* even, as are all below: noise */

    for (unsigned refused = 0; refused < 20;) {
        struct sample small = {.size = 50000};
        struct http_answer answer;

        small.content = seed_content(small.size, seed += 2, small.key);
        (void)snprintf(small.path, sizeof(small.path), "/v1/chunks/%s", small.key);
        http_send(client,
            &(struct http_request){
                .method = "PUT", .path = small.path, .body = small.content, .size = small.size},
            &answer);
        refused = answer.status == 507 ? refused + 1 : 0;
        if (answer.status != 201)
            check_problem(&answer, 507, "disk_full");
        http_answer_release(&answer);
        CHECK_STATUS(client, refused > 0 ? 404 : 200, .path = small.path);
        sample_release(&small);
    }
}

static void check_refuses_writes(struct http_client *client, struct filler *fillers)
{
    struct http_answer answer;
    json_t *root;

    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(fillers[i].last_status, 507);
    use_up_rest(client);
    CHECK_SEND(client, 503, &answer, .path = "/readyz");
    root = check_json(&answer);
    assert_true(json_is_false(json_object_get(root, "ready")));
    assert_true(json_array_size(json_object_get(root, "reasons")) > 0);
    json_decref(root);
    http_answer_release(&answer);
    CHECK_STATUS(client, 200, .path = "/healthz");
    CHECK_STATUS(client, 200, .path = "/v1/chunks");
}

/* A buffered write on a full disk is refused, or told to have failed; never silently lost. */
static void check_buffered_is_honest(struct http_client *client)
{
    struct sample sample = {.size = 60000};
    struct http_answer answer;

    sample.content = seed_content(sample.size, 2000000, sample.key); /* noise */
    (void)snprintf(sample.path, sizeof(sample.path), "/v1/chunks/%s", sample.key);
    http_send(client,
        &(struct http_request){.method = "PUT",
            .path = sample.path,
            .headers = {"Coffer-Durability: buffered"},
            .body = sample.content,
            .size = sample.size},
        &answer);
    if (answer.status == 202) {
        char body[300];
        json_t *root;

        (void)snprintf(
            body, sizeof(body), "{\"tickets\":[\"%s\"]}", http_header(&answer, "Coffer-Ticket"));
        http_answer_release(&answer);
        CHECK_SEND(client, 500, &answer, .method = "POST", .path = "/v1/sync", .body = body,
            .size = strlen(body));
        check_problem(&answer, 500, "sync_failed");
        root = check_json(&answer);
        assert_int_equal(json_array_size(json_object_get(root, "failed")), 1);
        json_decref(root);
    } else {
        assert_int_equal(answer.status, 507);
    }
    http_answer_release(&answer);
    CHECK_STATUS(client, 404, .path = sample.path);
    sample_release(&sample);
}

static void delete_some(struct http_client *client, struct filler *fillers)
{
    for (size_t i = 0; i < THREADS; i++) {
        char path[100];

        assert_true(fillers[i].stored > 3);
        (void)snprintf(path, sizeof(path), "/v1/chunks/%s", fillers[i].keys[--fillers[i].stored]);
        CHECK_STATUS(client, 204, .method = "DELETE", .path = path);
        CHECK_STATUS(client, 404, .path = path);
    }
}

static void check_goes_on(struct http_client *client, uint64_t seed)
{
    struct sample sample;

    check_becomes(client, &(struct http_request){.path = "/readyz"}, 200);
    sample_init(&sample, 50000, seed);
    check_put(client, &sample, NULL, 201);
    check_get(client, &sample);
    sample_release(&sample);
}

/* ---- the tests ---- */

static void run_full_disk(bool grow)
{
    struct filler *fillers = calloc(THREADS, sizeof(*fillers));
    struct http_client *client;

    assert_non_null(fillers);
    server_start(&server);
    client = http_client_create(server.address);
    take_space(BALLAST);
    fill_disk(fillers);
    check_refuses_writes(client, fillers);
    check_buffered_is_honest(client);
    delete_some(client, fillers);
    check_all_there(client, fillers);
    if (grow)
        assert_int_equal(mount("tmpfs", disk, "tmpfs", MS_REMOUNT, "size=96m"), 0);
    else
        give_space();
    check_goes_on(client, 10);
    check_all_there(client, fillers);
    http_client_destroy(client);
    server_kill(&server);
    server_start(&server);
    client = http_client_create(server.address);
    check_all_there(client, fillers);
    check_goes_on(client, 11);
    http_client_destroy(client);
    free(fillers);
}

static void test_full_then_freed(void **state)
{
    (void)state;
    run_full_disk(false);
}

static void test_full_then_grown(void **state)
{
    (void)state;
    run_full_disk(true);
}

/* Not a byte is left, not even the reserve: reads go on, all else may be refused but not lost. */
static void test_not_a_byte_left(void **state)
{
    struct filler *fillers = calloc(THREADS, sizeof(*fillers));
    struct http_client *client;
    struct http_answer answer;
    char path[100], *log;

    (void)state;
    assert_non_null(fillers);
    server_start(&server);
    client = http_client_create(server.address);
    take_space(BALLAST);
    fill_disk(fillers);
    take_all_space();
    check_refuses_writes(client, fillers);
    check_buffered_is_honest(client);
    (void)snprintf(path, sizeof(path), "/v1/chunks/%s", fillers[0].keys[fillers[0].stored - 1]);
    http_send(client, &(struct http_request){.method = "DELETE", .path = path}, &answer);
    assert_true(answer.status == 204 || answer.status == 507);
    fillers[0].stored -= answer.status == 204;
    http_answer_release(&answer);
    check_all_there(client, fillers);
    http_client_destroy(client);

    server_kill(&server); /* a start on the full disk comes up to read, or says what it lacks */
    server_spawn(&server);
    if (server_read_address(&server)) {
        client = http_client_create(server.address);
        check_all_there(client, fillers);
        give_space();
    } else {
        assert_int_not_equal(server_wait(&server), 0);
        log = server_log_copy(&server);
        if (strstr(log, "space") == NULL)
            print_error("it does not say that there is no space:\n%s", log);
        assert_non_null(strstr(log, "space"));
        free(log);
        give_space();
        server_start(&server);
        client = http_client_create(server.address);
    }
    check_goes_on(client, 12);
    check_all_there(client, fillers);
    http_client_destroy(client);
    free(fillers);
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(test_full_then_freed),
        DISK_TEST(test_full_then_grown),
        DISK_TEST(test_not_a_byte_left),
    };

    if (!may_mount()) {
        (void)printf("skipped: a full disk needs the right to mount a small one\n");
        return SKIPPED;
    }
    http_client_global();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
