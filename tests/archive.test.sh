#!/usr/bin/env bash
# Goal: the archive of a dataset is what tar and zstd take back as the channels it was made from,
# before and after the dataset is closed, at its version and at an earlier one, whole and in parts.
# Method: a real cofferd, curl, tar, zstd, cmp.
set -euo pipefail

: "${COFFERD:?names the binary of the server}"
folder=$(mktemp -d "${TMPDIR:-/tmp}/coffer-archive-XXXXXX")
server=

finish() {
    local code=$?
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" || code=1
    fi
    [ "$code" -eq 0 ] || cat "$folder/log" >&2
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT

fail() {
    printf 'archive: %s\n' "$*" >&2
    exit 1
}

mkfifo "$folder/stderr"
"$COFFERD" --data-dir "$folder/data" --listen 127.0.0.1:0 --pack-size 8MiB 2>"$folder/stderr" &
server=$!
exec 3<"$folder/stderr"
address=
while IFS= read -r -t 60 line <&3; do
    printf '%s\n' "$line" >>"$folder/log"
    case $line in
    *' ready: listening on '*)
        address=${line##* ready: listening on }
        break
        ;;
    esac
done
[ -n "$address" ] || fail "cofferd did not become ready"
cat <&3 >>"$folder/log" &

ask() { # CURL-ARGUMENT...
    curl -sS --fail-with-body "$@"
}
dataset=http://$address/v1/datasets/run-7

# --- a dataset: one channel larger than a block, one of many records, one that compresses ----------

ask -X PUT -d '{"metadata":{"by":"test"},"on_close":[{"do":"package","format":"tar.zst"}]}' \
    "$dataset" >/dev/null
head -c 5000000 /dev/urandom >"$folder/noise"
seq 1 200000 >"$folder/numbers"
ask --data-binary @"$folder/noise" "$dataset/channels/noise" >/dev/null
ask --data-binary @"$folder/numbers" "$dataset/channels/numbers" >/dev/null
for i in $(seq 1 50); do
    ask -d "line $i" "$dataset/channels/lines" >/dev/null
    printf 'line %d' "$i" >>"$folder/lines"
done
version=$(ask "$dataset" | jq .version)
ask -d 'too late' "$dataset/channels/lines" >/dev/null
printf 'too late' | cat "$folder/lines" - >"$folder/lines.new"

check_files() { # FOLDER LINES: what tar has made of an archive
    cmp "$folder/noise" "$1/noise" || fail "$1/noise"
    cmp "$folder/numbers" "$1/numbers" || fail "$1/numbers"
    cmp "$2" "$1/lines" || fail "$1/lines"
    [ "$(jq -r .name "$1/dataset.json")" = run-7 ] || fail "$1/dataset.json: name"
    [ "$(jq -r .metadata.by "$1/dataset.json")" = test ] || fail "$1/dataset.json: metadata"
    [ "$(jq -c '[.channels[].name]' "$1/dataset.json")" = '["lines","noise","numbers"]' ] ||
        fail "$1/dataset.json: channels"
    [ "$(find "$1" -type f | wc -l)" -eq 4 ] || fail "$1 has other files"
}

# --- made while it is sent -----------------------------------------------------------------------

mkdir "$folder/new" "$folder/old" "$folder/zst"
ask -o "$folder/new.tar" "$dataset/archive"
tar -C "$folder/new" -xf "$folder/new.tar"
check_files "$folder/new" "$folder/lines.new"
[ "$(jq '.channels[0].records' "$folder/new/dataset.json")" -eq 51 ] || fail "records"
announced=$(curl -sSI "$dataset/archive?format=tar" | tr -d '\r' | sed -n 's/^Content-Length: //p')
[ "$announced" -eq "$(stat -c %s "$folder/new.tar")" ] || fail "HEAD announces $announced bytes"

ask "$dataset/archive?version=$version" | tar -C "$folder/old" -xf -
check_files "$folder/old" "$folder/lines"
[ "$(jq '.channels[0].records' "$folder/old/dataset.json")" -eq 50 ] || fail "records of old"
[ "$(jq .version "$folder/old/dataset.json")" -eq "$version" ] || fail "version of old"

ask "$dataset/archive?format=tar.zst" | zstd -dc | cmp - "$folder/new.tar" || fail "tar.zst"

# --- kept by closing ---------------------------------------------------------------------------------

job=$(ask -X POST "$dataset/close" | jq -r .id)
ask -N "http://$address/v1/jobs/$job/events" >"$folder/events"
grep -q '^event: done$' "$folder/events" || fail "no event says that it is done"
[ "$(ask "http://$address/v1/jobs/$job" | jq -r .state)" = "done" ] || fail "the job is not done"
[ "$(ask "$dataset" | jq -r .state)" = closed ] || fail "the dataset is not closed"

ask -D "$folder/head" -o "$folder/kept.tar.zst" "$dataset/archive?format=tar.zst"
grep -qi '^etag:' "$folder/head" || fail "what is kept has an entity tag"
zstd -dc "$folder/kept.tar.zst" | tar -C "$folder/zst" -xf -
check_files "$folder/zst" "$folder/lines.new"
zstd -dc "$folder/kept.tar.zst" | cmp - "$folder/new.tar" || fail "closing changed the archive"
head -c 1000000 "$folder/kept.tar.zst" >"$folder/resumed"
ask -C - -o "$folder/resumed" "$dataset/archive?format=tar.zst"
cmp "$folder/resumed" "$folder/kept.tar.zst" || fail "a download that is resumed"
ask "$dataset/archive?version=$version" | tar -xOf - lines | cmp - "$folder/lines" ||
    fail "an older version of what is closed"
