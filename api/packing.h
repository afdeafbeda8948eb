/*
 * packing.h - a dataset, as of one version, as one tar archive: dataset.json, then a file a channel
 * with its name, in name order.
 *
 * The version's time is the time of all files, so a version has the same bytes each time, as long
 * as the metadata are the same. A channel of the name dataset.json has the file
 * "channel:dataset.json", which no channel can have as its name.
 *
 * Order:   packing_create(), then any number of packing_write().
 * Memory:  some 100 bytes a channel, and what tar_out.h says.
 * Threads: one at a time; both calls are blocking, for bulk threads and jobs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "api/tar_out.h"
#include "storage/datasets.h"

struct packing;

enum { PACKING_CHANNEL_SIZE = 256 }; /* bytes of memory a channel, with its part of dataset.json */

/* What belongs into it; `version` 0: the newest. COFFER_NO_SUCH_VERSION. The dataset stays held by
 * the caller. */
MUST_USE enum coffer_status packing_create(
    struct dataset *dataset, uint64_t version, struct packing **out, struct error *err);
void packing_destroy(struct packing *packing); /* NULL is a no-op */
uint64_t packing_version(const struct packing *packing);
uint64_t packing_size(const struct packing *packing); /* bytes as a plain tar */

struct packing_sink {
    tar_out_write *write;
    close_progress *progress; /* bytes of content; may be NULL */
    void *context;            /* of both */
};
/* COFFER_DRAINING when the sink wants no more; COFFER_DATA_CORRUPT and what else reading a channel
 * answers: the archive then has no end. */
MUST_USE enum coffer_status packing_write(const struct packing *packing, enum archive_format format,
    const struct packing_sink *sink, struct error *err);

const char *packing_media_type(enum archive_format format);
