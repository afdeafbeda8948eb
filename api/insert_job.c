/*
 * A ring of slots, one for each entry that has no line yet. The thread fills the slot at the end
 * and emits those at the start that are done, so lines come in order. It sleeps when the ring is
 * full or the store wants it to wait, and whatever it waits for, it serves every upload whose waker
 * was called: one that waits for memory may wait for one that only needs to be finished.
 */
#include "api/insert_job.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_out.h"
#include "api/problem.h"
#include "api/tar_in.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"

enum { LINES_SIZE = 64 << 10 };

struct slot {
    struct insert_job *job;
    struct upload *upload;   /* NULL: done */
    bool finishing;          /* upload_finish() is to be called again when it was woken */
    bool pending;            /* its waker is owed a call, or it is in job.woken */
    struct slot *next_woken; /* (job.lock) */
    uint64_t bytes;          /* counted in job.bytes */
    enum coffer_status status;
    char *detail; /* of a failure; may be NULL */
    struct upload_result result;
    char *name; /* grows and is used again */
    size_t name_size, name_room;
};

struct insert_job {
    struct store *store;
    char channel[CHANNEL_NAME_SIZE];
    enum durability durability;
    struct pipe *input;
    struct spool *output;

    pthread_mutex_t lock; /* only the input's is taken under it */
    pthread_cond_t awake;
    bool waiting;       /* (lock) on awake */
    bool reading;       /* (lock) on the input: poke it */
    struct slot *woken; /* (lock) those that were woken and not served yet */

    /* Of the thread that runs. */
    struct tar_in *tar;
    struct slot *slots;
    uint64_t first, end; /* slot n is slots[n % INSERT_WINDOW] */
    uint64_t bytes;      /* of the entries in flight */
    uint64_t lines;
    bool logged;
    struct json_out out;
    char buffer[LINES_SIZE];
};

/* ---- making ---- */

enum coffer_status insert_job_create(struct store *store, struct slice channel,
    enum durability durability, struct insert_job **out, struct error *err)
{
    struct insert_job *job = calloc(1, sizeof(*job));
    enum coffer_status status;

    if (job == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for an archive; try again later");
    invariant(channel.size < sizeof(job->channel));
    if (channel.size > 0)
        memcpy(job->channel, channel.data, channel.size);
    job->store = store;
    job->durability = durability;
    pthread_mutex_init(&job->lock, NULL);
    pthread_cond_init(&job->awake, NULL);
    json_out_fixed(&job->out, job->buffer, sizeof(job->buffer));
    job->slots = calloc(INSERT_WINDOW, sizeof(*job->slots));
    if (job->slots == NULL)
        status = error_set(err, COFFER_OVERLOADED, "no memory for an archive; try again later");
    else
        status = pipe_create(INSERT_PIPE_SIZE, &job->input, err);
    if (status == COFFER_OK)
        status = spool_create(INSERT_SPOOL_MEMORY, store_temp_folder(store), &job->output, err);
    if (status != COFFER_OK) {
        insert_job_destroy(job);
        return status;
    }
    for (size_t i = 0; i < INSERT_WINDOW; i++)
        job->slots[i].job = job;
    *out = job;
    return COFFER_OK;
}

void insert_job_destroy(struct insert_job *job)
{
    if (job == NULL)
        return;
    for (size_t i = 0; job->slots != NULL && i < INSERT_WINDOW; i++)
        free(job->slots[i].name);
    free(job->slots);
    pipe_destroy(job->input);
    spool_destroy(job->output);
    pthread_cond_destroy(&job->awake);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

struct pipe *insert_job_input(struct insert_job *job)
{
    return job->input;
}

struct spool *insert_job_output(struct insert_job *job)
{
    return job->output;
}

/* ---- being woken by the store ---- */

static void wake_slot(void *context)
{
    struct slot *slot = context;
    struct insert_job *job = slot->job;

    pthread_mutex_lock(&job->lock);
    slot->next_woken = job->woken;
    job->woken = slot;
    if (job->waiting)
        pthread_cond_signal(&job->awake);
    if (job->reading)
        pipe_poke(job->input);
    pthread_mutex_unlock(&job->lock);
}

/* Take all that were woken; wait for one if `wait`. */
static struct slot *take_woken(struct insert_job *job, bool wait)
{
    struct slot *woken;

    pthread_mutex_lock(&job->lock);
    job->waiting = true;
    while (wait && job->woken == NULL)
        pthread_cond_wait(&job->awake, &job->lock);
    job->waiting = false;
    woken = job->woken;
    job->woken = NULL;
    pthread_mutex_unlock(&job->lock);
    return woken;
}

/* ---- lines ---- */

static enum coffer_status flush(struct insert_job *job, struct error *err)
{
    struct slice text = json_out_text(&job->out);
    enum coffer_status status = spool_write(job->output, text.data, text.size, err);

    json_out_reset(&job->out);
    return status;
}

static void write_failure(
    struct insert_job *job, enum coffer_status status, const char *detail, bool shown)
{
    json_out_member_u64(&job->out, "status", (uint64_t)status_http(status));
    json_out_member_text(&job->out, "code", status_code(status));
    if (shown && detail != NULL)
        json_out_member_text(&job->out, "detail", detail);
}

static void write_line(struct insert_job *job, const struct slot *slot)
{
    struct json_out *out = &job->out;
    enum coffer_status shown = problem_public_status(slot->status);

    json_out_object(out);
    json_out_member_string(out, "name", slice_of(slot->name, slot->name_size));
    if (slot->status == COFFER_OK) {
        json_out_member_digest(out, "key", &slot->result.key);
        json_out_member_u64(out, "size", slot->result.size);
        json_out_member_bool(out, "created", slot->result.created);
        if (slot->result.state != CHUNK_DURABLE) {
            json_out_member_text(out, "state", chunk_state_name(slot->result.state));
            json_out_member_text(out, "ticket", slot->result.ticket.text);
        }
    } else {
        write_failure(job, shown, slot->detail, shown == slot->status);
    }
    json_out_object_end(out);
    json_out_line(out);
}

/* The line of the first slot, which is then free. */
static enum coffer_status emit_first(struct insert_job *job, struct error *err)
{
    struct slot *slot = &job->slots[job->first % INSERT_WINDOW];
    struct json_out_mark mark = json_out_mark(&job->out);
    enum coffer_status status = COFFER_OK;

    write_line(job, slot);
    if (!json_out_ok(&job->out)) {
        json_out_rewind(&job->out, mark);
        status = flush(job, err);
        write_line(job, slot);
    }
    invariant(json_out_ok(&job->out));
    if (problem_public_status(slot->status) != slot->status && slot->status != COFFER_OK &&
        !job->logged) {
        log_write(LOG_ERROR, "insert_failed", "%s: %s", status_code(slot->status),
            slot->detail == NULL ? "" : slot->detail);
        job->logged = true; /* once an archive: all others will say the same */
    }
    free(slot->detail);
    slot->detail = NULL;
    job->bytes -= slot->bytes;
    job->first++;
    job->lines++;
    return status;
}

/* ---- slots ---- */

static void slot_fail(struct slot *slot, enum coffer_status status, const struct error *err)
{
    upload_close(slot->upload);
    slot->upload = NULL;
    slot->status = status;
    slot->detail = err->status == status && err->text[0] != '\0' ? strdup(err->text) : NULL;
}

/* Ask for the result, which may be there or not yet. */
static void slot_try_finish(struct slot *slot)
{
    struct error err = {COFFER_OK, ""};
    enum coffer_status status;

    slot->finishing = true;
    status = upload_finish(slot->upload, &slot->result, &err);
    slot->pending = status == COFFER_AGAIN;
    if (status == COFFER_AGAIN)
        return;
    if (status != COFFER_OK) {
        slot_fail(slot, status, &err);
        return;
    }
    upload_close(slot->upload);
    slot->upload = NULL;
}

/* Call the finish of all that were woken again; wait for one of them if `wait`. */
static void serve_woken(struct insert_job *job, bool wait)
{
    struct slot *slot = take_woken(job, wait);

    while (slot != NULL) {
        struct slot *next = slot->next_woken; /* it may be woken again at once */

        slot->pending = false;
        if (slot->finishing)
            slot_try_finish(slot);
        slot = next;
    }
}

/* Emit what is done from the first slot on; wait until at most `most` are left. */
static enum coffer_status reduce_to(
    struct insert_job *job, uint64_t most, uint64_t bytes_max, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    serve_woken(job, false);
    while (status == COFFER_OK && job->first < job->end) {
        const struct slot *slot = &job->slots[job->first % INSERT_WINDOW];

        if (slot->upload == NULL)
            status = emit_first(job, err);
        else if (job->end - job->first > most || job->bytes > bytes_max)
            serve_woken(job, true);
        else
            break;
    }
    return status;
}

static struct slot *take_slot(struct insert_job *job, struct slice name)
{
    struct slot *slot = &job->slots[job->end % INSERT_WINDOW];

    invariant(job->end - job->first < INSERT_WINDOW);
    if (name.size > slot->name_room) {
        free(slot->name);
        slot->name = malloc(name.size);
        slot->name_room = slot->name == NULL ? 0 : name.size;
    }
    slot->name_size = name.size < slot->name_room ? name.size : slot->name_room;
    if (slot->name_size > 0)
        memcpy(slot->name, name.data, slot->name_size);
    slot->status = COFFER_OK;
    slot->upload = NULL;
    slot->finishing = slot->pending = false;
    slot->bytes = 0;
    job->end++;
    return slot;
}

/* ---- entries ---- */

static enum coffer_status upload_all(
    struct slot *slot, const char *data, size_t size, struct error *err)
{
    for (;;) {
        enum coffer_status status;
        size_t taken = 0;

        status = upload_data(slot->upload, data, size, &taken, err);
        if (status != COFFER_AGAIN)
            return status;
        data += taken;
        size -= taken;
        slot->pending = true;
        while (slot->pending)
            serve_woken(slot->job, true);
    }
}

/* Not COFFER_OK: the archive ends here. What is wrong with the entry alone is in the slot. */
static enum coffer_status store_entry(
    struct insert_job *job, struct slot *slot, const struct tar_in_entry *entry, struct error *err)
{
    struct upload_options options = {.channel = slice_from_text(job->channel),
        .durability = job->durability,
        .size = entry->size};
    struct waker waker = {wake_slot, slot};
    struct error local = {COFFER_OK, ""};
    enum coffer_status status = upload_begin(job->store, &options, waker, &slot->upload, &local);

    while (status == COFFER_OK) {
        const void *data;
        size_t size;
        enum coffer_status tar_status = tar_in_data(job->tar, &data, &size, err);

        if (tar_status != COFFER_OK) {
            slot_fail(slot, tar_status, err);
            return tar_status;
        }
        if (size == 0) {
            slot_try_finish(slot);
            return COFFER_OK;
        }
        status = upload_all(slot, data, size, &local);
    }
    slot_fail(slot, status, &local);
    return COFFER_OK; /* the rest of the entry is skipped by tar_in_next() */
}

static enum coffer_status take_entry(
    struct insert_job *job, const struct tar_in_entry *entry, struct error *err)
{
    bool name_fits = entry->name.size <= INSERT_NAME_MAX;
    struct slot *slot =
        take_slot(job, slice_of(entry->name.data, name_fits ? entry->name.size : INSERT_NAME_MAX));
    struct error refusal;

    if (entry->refused != NULL || !name_fits) {
        (void)error_set(&refusal, COFFER_BAD_REQUEST, "%s",
            entry->refused != NULL ? entry->refused : "its name has more than 8 KiB");
        slot_fail(slot, COFFER_BAD_REQUEST, &refusal);
        return COFFER_OK;
    }
    slot->bytes = entry->size < INSERT_BYTES_MAX ? entry->size : INSERT_BYTES_MAX;
    job->bytes += slot->bytes;
    return store_entry(job, slot, entry, err);
}

/* Note whether wakers are to poke the input; false: some were called already. */
static bool set_reading(struct insert_job *job, bool reading)
{
    bool none_woken;

    pthread_mutex_lock(&job->lock);
    none_woken = job->woken == NULL;
    job->reading = reading && none_woken;
    pthread_mutex_unlock(&job->lock);
    return none_woken;
}

/* A client that dawdles does not keep the uploads that are in flight from being finished. */
static bool read_input(void *context, const void **data, size_t *size)
{
    struct insert_job *job = context;
    bool poked = true, alive = true;

    while (alive && poked) {
        if (set_reading(job, true))
            alive = pipe_read(job->input, data, size, &poked);
        (void)set_reading(job, false);
        serve_woken(job, false);
    }
    return alive;
}

/* COFFER_OK: to the end. *broken: the status is the archive's, and not that of our output. */
static enum coffer_status read_archive(struct insert_job *job, bool *broken, struct error *err)
{
    enum coffer_status status = tar_in_create(read_input, job, &job->tar, err);
    struct tar_in_entry entry;
    bool more;

    *broken = false;
    while (status == COFFER_OK) {
        status = tar_in_next(job->tar, &entry, &more, err);
        if (status == COFFER_OK && !more)
            return COFFER_OK;
        if (status == COFFER_OK)
            status = take_entry(job, &entry, err);
        if (status != COFFER_OK) {
            *broken = true;
            return status;
        }
        status = reduce_to(job, INSERT_WINDOW - 1, INSERT_BYTES_MAX, err);
    }
    return status;
}

/* Read on to the end: padding behind the archive, and whatever else was sent. */
static void drop_rest(struct insert_job *job)
{
    const void *data;
    size_t size = 1;

    while (size > 0 && read_input(job, &data, &size))
        ;
}

/* Nobody reads the lines: only wait for the wakers that are owed. Each upload is closed as soon as
 * it may be, for others may wait for what it holds. */
static void settle_slots(struct insert_job *job)
{
    size_t owed = 0;

    for (uint64_t n = job->first; n < job->end; n++) {
        struct slot *slot = &job->slots[n % INSERT_WINDOW];

        free(slot->detail);
        slot->detail = NULL;
        owed += slot->pending;
        if (!slot->pending)
            upload_close(slot->upload);
    }
    while (owed > 0) {
        for (struct slot *slot = take_woken(job, true); slot != NULL; slot = slot->next_woken) {
            upload_close(slot->upload);
            owed--;
        }
    }
}

void insert_job_run(struct insert_job *job)
{
    struct error err = {COFFER_OK, ""}, line_err = {COFFER_OK, ""};
    bool broken;
    enum coffer_status status = read_archive(job, &broken, &err);
    enum coffer_status line_status = COFFER_OK;

    if (status == COFFER_OK)
        drop_rest(job);
    else
        pipe_cancel(job->input);
    if (status == COFFER_OK || (broken && status != COFFER_DRAINING))
        line_status = reduce_to(job, 0, 0, &line_err);
    if (line_status == COFFER_OK && broken && job->lines > 0 && status != COFFER_DRAINING) {
        line_status = flush(job, &line_err); /* makes room for one more */
        json_out_object(&job->out);
        write_failure(job, status, err.text, true);
        json_out_object_end(&job->out);
        json_out_line(&job->out);
        status = COFFER_OK;
    }
    if (line_status == COFFER_OK)
        line_status = flush(job, &line_err);
    settle_slots(job);
    tar_in_destroy(job->tar);
    if (status == COFFER_OK && line_status != COFFER_OK) {
        status = line_status;
        err = line_err;
    }
    spool_finish(job->output, status, &err);
}
