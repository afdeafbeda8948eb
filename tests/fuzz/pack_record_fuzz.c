/*
 * Target: the headers of packs and records (pack_format.h), and manifests. The first byte chooses
 * the kind, and whether the checksum is made right first: a fuzzer does not guess XXH3.
 */
#include <stdbool.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/pack/pack_format.h"
#include "tests/fuzz/fuzz.h"

enum { KIND_RECORD, KIND_PACK, KIND_MANIFEST, KIND_COUNT, CHECKSUM_RIGHT = 0x80 };

static void try_record(uint8_t bytes[RECORD_HEADER_SIZE], bool right)
{
    struct record_header header, again;
    uint8_t written[RECORD_HEADER_SIZE];
    uint64_t nonce = get_le64(bytes + 8);

    if (right)
        put_le64(bytes + 88, checksum_once(bytes, 88));
    if (!record_header_decode(bytes, nonce, &header))
        return;
    fuzz_check(header.stored_size <= RECORD_PAYLOAD_MAX);
    fuzz_check(record_size(header.stored_size) % RECORD_ALIGNMENT == 0);
    fuzz_check(!record_header_decode(bytes, nonce + 1, &again)); /* of another pack */
    record_header_encode(&header, written);
    fuzz_check(record_header_decode(written, nonce, &again));
    fuzz_check(again.type == header.type && again.codec == header.codec);
    fuzz_check(again.lsn == header.lsn && again.durable == header.durable);
    fuzz_check(again.raw_size == header.raw_size && again.stored_size == header.stored_size);
    fuzz_check(memcmp(again.key, header.key, RECORD_KEY_SIZE) == 0);
}

static void try_pack(uint8_t bytes[PACK_HEADER_SIZE], bool right)
{
    struct pack_header header;
    struct error err = {0};
    uint8_t written[PACK_HEADER_SIZE];
    enum coffer_status status;

    if (right)
        put_le64(bytes + 56, checksum_once(bytes, 56));
    status = pack_header_decode(bytes, &header, &err);
    if (status != COFFER_OK) {
        fuzz_check(status == COFFER_DATA_CORRUPT || status == COFFER_FORMAT_UNKNOWN);
        fuzz_check(err.status == status && err.text[0] != '\0');
        return;
    }
    pack_header_encode(&header, written);
    fuzz_check(pack_header_decode(written, &header, NULL) == COFFER_OK);
    fuzz_check(header.pack_id == get_le64(bytes + 32) && header.nonce == get_le64(bytes + 40));
}

static void try_manifest(const uint8_t *bytes, size_t size)
{
    struct manifest manifest;
    uint8_t written[MANIFEST_SIZE];

    if (manifest_decode(bytes, size, &manifest, NULL) != COFFER_OK)
        return;
    fuzz_check(size == MANIFEST_SIZE && manifest.segment_size > 0);
    manifest_encode(&manifest, written);
    fuzz_check(memcmp(written, bytes, MANIFEST_SIZE) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[RECORD_HEADER_SIZE] = {0};
    uint64_t pack_id;
    char *name;
    bool right;
    int kind;

    if (size == 0)
        return 0;
    kind = (data[0] & ~CHECKSUM_RIGHT) % KIND_COUNT;
    right = (data[0] & CHECKSUM_RIGHT) != 0;
    memcpy(bytes, data + 1, size - 1 < sizeof(bytes) ? size - 1 : sizeof(bytes));
    if (kind == KIND_RECORD)
        try_record(bytes, right);
    else if (kind == KIND_PACK)
        try_pack(bytes, right);
    else
        try_manifest(data + 1, size - 1);
    name = fuzz_text(data + 1, size - 1);
    if (pack_id_from_name(name, &pack_id)) {
        char again[PACK_NAME_SIZE];

        pack_file_name(pack_id, again);
        fuzz_check(strcmp(name, again) == 0);
    }
    free(name);
    return 0;
}
