#include "storage/pack/pack_format.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"

static const char PACK_MAGIC[8] = {'C', 'O', 'F', 'F', 'E', 'R', 'P', 'K'};
static const char RECORD_MAGIC[4] = {'C', 'f', 'R', '1'};

void pack_header_encode(const struct pack_header *header, uint8_t out[PACK_HEADER_SIZE])
{
    memcpy(out, PACK_MAGIC, sizeof(PACK_MAGIC));
    put_le32(out + 8, PACK_FORMAT_VERSION);
    put_le32(out + 12, PACK_HEADER_SIZE);
    memcpy(out + 16, header->store, STORE_UUID_SIZE);
    put_le64(out + 32, header->pack_id);
    put_le64(out + 40, header->nonce);
    put_le64(out + 48, header->base_lsn);
    put_le64(out + 56, checksum_once(out, 56));
}

enum coffer_status pack_header_decode(
    const uint8_t in[PACK_HEADER_SIZE], struct pack_header *header, struct error *err)
{
    uint32_t version = get_le32(in + 8);

    if (memcmp(in, PACK_MAGIC, sizeof(PACK_MAGIC)) != 0)
        return error_set(err, COFFER_DATA_CORRUPT, "it does not begin with a pack's magic");
    if (get_le64(in + 56) != checksum_once(in, 56))
        return error_set(err, COFFER_DATA_CORRUPT, "the checksum of its header does not match");
    if (version > PACK_FORMAT_VERSION || version == 0)
        return error_set(err, COFFER_FORMAT_UNKNOWN,
            "it is of pack format %" PRIu32 ", this server knows %d", version, PACK_FORMAT_VERSION);
    memcpy(header->store, in + 16, STORE_UUID_SIZE);
    header->pack_id = get_le64(in + 32);
    header->nonce = get_le64(in + 40);
    header->base_lsn = get_le64(in + 48);
    return COFFER_OK;
}

void record_header_encode(const struct record_header *header, uint8_t out[RECORD_HEADER_SIZE])
{
    memcpy(out, RECORD_MAGIC, sizeof(RECORD_MAGIC));
    out[4] = (uint8_t)header->type;
    out[5] = (uint8_t)header->codec;
    put_le16(out + 6, 0); /* flags: none yet */
    put_le64(out + 8, header->nonce);
    put_le64(out + 16, header->lsn);
    put_le64(out + 24, header->durable);
    memcpy(out + 32, header->key, RECORD_KEY_SIZE);
    put_le64(out + 64, header->raw_size);
    put_le64(out + 72, header->stored_size);
    put_le64(out + 80, header->checksum);
    put_le64(out + 88, checksum_once(out, 88));
}

bool record_header_decode(
    const uint8_t in[RECORD_HEADER_SIZE], uint64_t nonce, struct record_header *header)
{
    if (memcmp(in, RECORD_MAGIC, sizeof(RECORD_MAGIC)) != 0 || get_le64(in + 8) != nonce ||
        get_le64(in + 88) != checksum_once(in, 88))
        return false;
    if (in[4] < RECORD_CHUNK || in[4] > RECORD_DROP || in[5] > CODEC_ZLIB ||
        get_le64(in + 72) > RECORD_PAYLOAD_MAX)
        return false;
    header->type = (enum record_type)in[4];
    header->codec = (enum codec)in[5];
    header->nonce = nonce;
    header->lsn = get_le64(in + 16);
    header->durable = get_le64(in + 24);
    memcpy(header->key, in + 32, RECORD_KEY_SIZE);
    header->raw_size = get_le64(in + 64);
    header->stored_size = get_le64(in + 72);
    header->checksum = get_le64(in + 80);
    return true;
}

void manifest_encode(const struct manifest *manifest, uint8_t out[MANIFEST_SIZE])
{
    static_assert(
        sizeof(manifest->upload) + 3 * sizeof(uint64_t) == MANIFEST_SIZE, "as documented");
    memcpy(out, manifest->upload, sizeof(manifest->upload));
    put_le64(out + 24, manifest->segment_size);
    put_le64(out + 32, manifest->size);
    put_le64(out + 40, manifest->stored_size);
}

enum coffer_status manifest_decode(
    const uint8_t *in, size_t size, struct manifest *manifest, struct error *err)
{
    if (size != MANIFEST_SIZE)
        return error_set(err, COFFER_DATA_CORRUPT, "a manifest has %zu bytes", size);
    memcpy(manifest->upload, in, sizeof(manifest->upload));
    manifest->segment_size = get_le64(in + 24);
    manifest->size = get_le64(in + 32);
    manifest->stored_size = get_le64(in + 40);
    if (manifest->segment_size == 0)
        return error_set(err, COFFER_DATA_CORRUPT, "a manifest has segments of no size");
    return COFFER_OK;
}

void pack_file_name(uint64_t pack_id, char out[PACK_NAME_SIZE])
{
    (void)snprintf(out, PACK_NAME_SIZE, "%010" PRIu64 ".pack", pack_id);
}

bool pack_id_from_name(const char *name, uint64_t *pack_id)
{
    char again[PACK_NAME_SIZE];
    char *end;

    *pack_id = strtoull(name, &end, 10);
    pack_file_name(*pack_id, again);
    return *pack_id != 0 && strcmp(name, again) == 0;
}
