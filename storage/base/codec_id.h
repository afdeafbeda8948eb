/*
 * codec_id.h - how the payload of a record is encoded. The numbers are in packs: append only.
 */
#pragma once

enum codec { CODEC_NONE = 0, CODEC_ZSTD = 1, CODEC_ZLIB = 2 /* of imports */ };
