#!/usr/bin/env bash
# Goal: what README.md shows works as it is pasted. Method: the sh blocks behind a comment
# "<!-- tested: curl session -->" are run against a cofferd on a free port, as one session, and
# what they leave behind is looked at.
set -euo pipefail

: "${COFFERD:?names the binary of the server}" "${COFFER_SOURCE:?names the source tree}"
readme=$COFFER_SOURCE/README.md
folder=$(mktemp -d "${TMPDIR:-/tmp}/coffer-readme-XXXXXX")
server=

finish() {
    local code=$?
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" || code=1
    fi
    if [ "$code" -ne 0 ]; then
        echo "---- the session ----" && cat "$folder/session" "$folder/output"
        echo "---- cofferd ----" && cat "$folder/log"
    fi >&2 2>/dev/null
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT

fail() {
    printf 'readme: %s\n' "$*" >&2
    exit 1
}

# --- the session ---------------------------------------------------------------------------

awk '/^<!-- tested: curl session -->/ { wanted = 1; next }
     wanted && /^```sh$/ { inside = 1; wanted = 0; next }
     /^```$/ { inside = 0 }
     inside' "$readme" >"$folder/session"
grep -q curl "$folder/session" || fail "README.md has no sh block marked \"tested: curl session\""

# --- a server ------------------------------------------------------------------------------

mkfifo "$folder/stderr"
"$COFFERD" --data-dir "$folder/data" --listen 127.0.0.1:0 2>"$folder/stderr" &
server=$!
# What cofferd says goes to a file by way of this descriptor, up to its `ready` line here.
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

# --- run it --------------------------------------------------------------------------------

sed -i "s/127\.0\.0\.1:8420/$address/g" "$folder/session"
mkdir "$folder/here"
# As a person would: each command in turn, and none may fail, nor be answered by an error.
(
    cd "$folder/here"
    # shellcheck disable=SC2317
    curl() { command curl --silent --show-error --fail-with-body --max-time 60 "$@"; }
    set -euo pipefail
    # shellcheck disable=SC1091
    . "$folder/session"
) >"$folder/output" 2>&1 || fail "a command of the session failed"

key=$(sha256sum "$folder/here/hello.txt" | cut -d' ' -f1)
expect() { # TEXT: must be in the output
    grep -qF -- "$1" "$folder/output" || fail "the session's output lacks: $1"
}
expect '"created":true'
expect "\"key\":\"$key\""
expect 'hello, coffer'
expect '"state":"buffered"'
expect '"state":"durable"'
expect '"name":"hello.txt"'
expect "$key" # in the listing of the tar
expect '"chunks":['
expect '"engine":'
expect '"records":1,"version":1'   # the append that was sent twice is one
expect '"state":"staged"'
expect '"state":"committed"'
expect 'event 1event 2'
expect 'dataset.json'
status=$(curl --silent --output /dev/null --write-out '%{http_code}' "http://$address/v1/chunks/$key")
[ "$status" = 404 ] || fail "the session deletes its chunk, but it answers $status"
grep -c '^ *\(curl\|.*| *curl\)' "$folder/session" | sed 's/$/ commands of README.md work/'
