#!/usr/bin/env bash
# Goal: the example programs of client/ do what they promise, also when they are killed. Method: each
# is run against a cofferd, killed in its midst and started again where it says it may be, and what is
# stored in the end is compared with what a run without trouble would have stored.
set -euo pipefail

: "${COFFERD:?names the binary of the server}" "${COFFER_EXAMPLES:?names the folder of the examples}"
folder=$(mktemp -d "${TMPDIR:-/tmp}/coffer-examples-XXXXXX")
url=unix:$folder/socket
server=

finish() {
    local code=$?
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" || code=1
    fi
    if [ "$code" -ne 0 ]; then
        echo "---- cofferd ----" && cat "$folder/log"
        echo "---- the example ----" && tail -n 20 "$folder"/*.out
    fi >&2 2>/dev/null
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT

fail() {
    printf 'examples: %s\n' "$*" >&2
    exit 1
}

request() { # ARGUMENT... PATH: by curl, the answer to standard output
    curl --silent --show-error --fail --max-time 60 --unix-socket "$folder/socket" \
        "${@:1:$#-1}" "http://localhost${*: -1}"
}

records() { # DATASET: of all channels together
    request "/v1/datasets/$1" | jq '[.channels[].records] | add // 0'
}

wait_for_records() { # DATASET NUMBER
    local found=0
    for _ in $(seq 2000); do
        found=$(records "$1" 2>/dev/null || echo 0)
        [ "$found" -lt "$2" ] || return 0
        sleep 0.01 # poll: records that another process writes
    done
    fail "$1 has $found records after a long time, not $2"
}

example() { # NAME ARGUMENT...
    "$COFFER_EXAMPLES/$1" "$url" "${@:2}"
}

expect_events() { # DATASET CHANNEL NUMBER: whole events, each once, in order
    "$COFFER_EXAMPLES/tail" "$url" "$1" "$2" |
        jq -c '[.event, .source, (.hits | length)]' |
        awk -v channel="$2" -v number="$3" '
            { want = "[" (NR - 1) ",\"" channel "\"," (1 + (NR - 1) * 7919 % 12) "]" }
            $0 != want { print "is " $0 ", not " want; exit bad = 1 }
            END { exit bad || NR != number }' || fail "events of $2 are not what they should be"
}

# --- a server ------------------------------------------------------------------------------

mkfifo "$folder/stderr"
"$COFFERD" --data-dir "$folder/data" --listen "$url" 2>"$folder/stderr" &
server=$!
exec 3<"$folder/stderr"
ready=
while IFS= read -r -t 60 line <&3; do
    printf '%s\n' "$line" >>"$folder/log"
    case $line in *' ready: listening on '*) ready=yes && break ;; esac
done
[ -n "$ready" ] || fail "cofferd did not become ready"
cat <&3 >>"$folder/log" &

# --- events_per_thread: killed in its midst, and started again -------------------------------

example events_per_thread events 3 200000 >"$folder/first.out" 2>&1 &
victim=$!
wait_for_records events 20000
kill -KILL "$victim"
wait "$victim" 2>/dev/null || true
at=$(records events)
[ "$at" -lt 600000 ] || fail "events_per_thread was done before it was killed"
example events_per_thread events 3 200000 >"$folder/second.out"
grep -q '[1-9][0-9]* of them were there before' "$folder/second.out" ||
    fail "the second run did not go on where the first was killed"
for thread in thread-00 thread-01 thread-02; do
    expect_events events "$thread" 200000
done

# --- subdetectors: four processes; one is killed, and started again --------------------------

batches=800 size=50
declare -A detectors
for name in tracker calorimeter muon trigger; do
    example subdetectors batches "$name" "$batches" "$size" >"$folder/$name.out" 2>&1 &
    detectors[$name]=$!
done
wait_for_records batches $((4 * size))
kill -KILL "${detectors[muon]}" || fail "muon was done before it was killed"
wait "${detectors[muon]}" 2>/dev/null || true
example subdetectors batches muon "$batches" "$size" >"$folder/muon.out" 2>&1 &
detectors[muon]=$!
for name in tracker calorimeter muon trigger; do
    wait "${detectors[$name]}" || fail "$name ended with $?"
    "$COFFER_EXAMPLES/tail" "$url" batches "$name" |
        awk -v name="$name" -v number=$((batches * size)) '
            $0 != (NR - 1) " " name " " (NR - 1) * 7919 % 65536 { print; exit bad = 1 }
            END { exit bad || NR != number }' || fail "$name has not each event once"
done
# Each version is a batch, in all channels.
request "/v1/datasets/batches/versions?limit=10000" |
    jq -e --argjson batches "$batches" \
        '(.versions | length) == $batches and all(.versions[]; (.channels | length) == 4)' >/dev/null ||
    fail "a version is not a batch of all four detectors"
# The same in one process.
example subdetectors batches all $((batches + 5)) "$size" >"$folder/all.out"
[ "$(records batches)" -eq $((4 * (batches + 5) * size)) ] || fail "four threads did not go on"

# --- tail -f: to the end of the dataset ------------------------------------------------------

"$COFFER_EXAMPLES/tail" -f "$url" batches trigger >"$folder/followed" &
follower=$!
example subdetectors batches all $((batches + 10)) "$size" >"$folder/all.out"
request -X POST /v1/datasets/batches/close >/dev/null
wait "$follower" || fail "tail -f ended with $?"
"$COFFER_EXAMPLES/tail" "$url" batches trigger | cmp - "$folder/followed" ||
    fail "tail -f is not what the channel is"

# --- words: each way writes and reads all of them --------------------------------------------

example words words 100000 3 | tee "$folder/words.out"
[ "$(wc -l <"$folder/words.out")" -eq 7 ] || fail "words did not go all its ways"
for program in events_per_thread subdetectors tail words; do
    code=0
    "$COFFER_EXAMPLES/$program" 2>/dev/null || code=$?
    [ "$code" -eq 2 ] || fail "$program without arguments ends with $code, not 2"
done
echo "examples: all of them work"
