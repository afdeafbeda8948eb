#include "storage/base/invariant.h"
#include "storage/codec/codec.h"

/* First bytes of files that are compressed already. Only what cannot reasonably begin anything
 * else; a wrong guess costs space, never bytes. */
static const struct magic {
    uint8_t size;
    char bytes[11];
} magics[] = {
    {2, "\x78\x01"}, /* zlib, RFC 1950, at its four levels */
    {2, "\x78\x5e"},
    {2, "\x78\x9c"},
    {2, "\x78\xda"},
    {2, "\x1f\x8b"},            /* gzip, RFC 1952 */
    {2, "\x1f\x9d"},            /* compress (.Z) */
    {4, "\x28\xb5\x2f\xfd"},    /* zstd, RFC 8878 */
    {6, "\xfd\x37zXZ\0"},       /* xz */
    {4, "LZIP"},                /* lzip */
    {4, "\x04\x22\x4d\x18"},    /* lz4 frame */
    {4, "\x02\x21\x4c\x18"},    /* lz4 legacy */
    {9, "\x89LZO\0\r\n\x1a\n"}, /* lzop */
    {10, "\xff\x06\0\0sNaPpY"}, /* snappy, framed */
    {4, "PK\x03\x04"},          /* zip and all that is one */
    {4, "PK\x07\x08"},          /* zip, spanned */
    {6, "7z\xbc\xaf\x27\x1c"},  /* 7z */
    {6, "Rar!\x1a\x07"},        /* rar */
    {8, "\x89PNG\r\n\x1a\n"},   /* png */
    {3, "\xff\xd8\xff"},        /* jpeg */
    {8, "\0\0\0\x0cjP  "},      /* jpeg 2000 */
    {8, "\0\0\0\x0cJXL "},      /* jpeg xl */
    {6, "GIF87a"},              /* gif */
    {6, "GIF89a"},
    {4, "OggS"},             /* ogg: vorbis, opus */
    {4, "fLaC"},             /* flac */
    {4, "\x1a\x45\xdf\xa3"}, /* matroska, webm */
    {4, "wOFF"},             /* web fonts */
    {4, "wOF2"},
};

static bool begins_with(struct slice raw, size_t offset, const char *bytes, size_t size)
{
    return raw.size >= offset + size && memcmp((const char *)raw.data + offset, bytes, size) == 0;
}

bool codec_is_compressed_magic(struct slice raw)
{
    if (raw.size == 0)
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(magics); i++)
        if (magics[i].bytes[0] == *(const char *)raw.data &&
            begins_with(raw, 0, magics[i].bytes, magics[i].size))
            return true;
    if (begins_with(raw, 0, "BZh", 3) && raw.size >= 4) { /* bzip2, with its level */
        char level = ((const char *)raw.data)[3];

        return level >= '1' && level <= '9';
    }
    return begins_with(raw, 4, "ftyp", 4) || /* mp4, heic, avif */
           (begins_with(raw, 0, "RIFF", 4) && begins_with(raw, 8, "WEBP", 4));
}
