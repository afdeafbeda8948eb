#!/usr/bin/env bash
# ctest-labels: slow
#
# Goal: what writers on other machines append arrives exactly once, whatever the network and the server
# do meanwhile; who lost a channel to another writer is shut out; and nobody ever sees half of a commit.
#
# Method: a server and four machines in network namespaces (support/netns.sh): one loses packets, one has
# a slow link, one is cut off, of one the connections are reset. On each write four programs: two through
# libcoffer, one by the curl script of docs/datasets.md, and one in transactions over all four machines.
# Readers look all the time (programs/remote_reader.c). Three more writers are cut off while others claim
# their channels. In the midst of that the server is killed; later it is stopped, and started again.
#
# What writers were told to be durable comes here through a pipe, "CHANNEL SEED SIZE" a line, and the next
# fault happens when some channel has come so far, not after some time. In the end every channel is compared,
# byte by byte, with what its writer must have written.
#
# COFFER_TEST_LONG=1 goes through ten times as much.
set -euo pipefail

: "${COFFERD:?names the binary of the server}" "${COFFER_SOURCE:?names the source tree}"
: "${COFFER_BUILD:?names the folder of the build}"
. "$COFFER_SOURCE/tests/support/netns.sh"
netns_enter "$@"

folder=$(mktemp -d "${TMPDIR:-/tmp}/coffer-remote-XXXXXX")
url=http://$NET_SERVER:8420
dataset=$url/v1/datasets/run-9
programs=$COFFER_BUILD/tests
machines=(lossy slow apart shaky)
streams=(plain-{lossy,slow,apart,shaky} pipelined-{lossy,slow,apart} large-shaky) # until told to end
batched=(batch-{lossy,slow,apart,shaky})
taken=(taken-plain taken-pipelined taken-curl)
batch=50 large=24000 # lines: BATCH and LARGE of remote_writer.c
first=1 second=2     # seeds: of a channel's first writer, and of who takes it from that one
rounds=1
[ "${COFFER_TEST_LONG-}" != 1 ] || rounds=10
batches=$((40 * rounds)) curls=$((40 * rounds))
server=
declare -A running # what must be waited for: name -> pid
declare -A acked   # "CHANNEL SEED" -> bytes said to be durable
declare -A began   # the same -> bytes that were there when it began

finish() {
    local code=$?
    if [ "$code" -ne 0 ]; then
        echo "---- cofferd ----" && tail -n 30 "$folder/log"
        echo "---- the others ----" && grep -H "" "$folder"/*.err "$folder"/*.out | tail -n 60
        echo "---- acknowledged ----" &&
            awk '{ last[$1 " " $2] = $3 } END { for (k in last) print k, last[k] }' "$folder/ledger"
    fi >&2 2>/dev/null
    # Processes that are left go with the namespace that this is the first process of.
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT

fail() {
    printf 'remote_writers: %s\n' "$*" >&2
    exit 1
}

# --- the server --------------------------------------------------------------------------------

start_server() {
    local line ready=
    rm -f "$folder/stderr"
    mkfifo "$folder/stderr"
    become server "$COFFERD" --data-dir "$folder/data" --listen "$NET_SERVER:8420" --allow-anonymous \
        --segment-size 1MiB --pack-size 4MiB --drain-timeout 2s 2>"$folder/stderr" 4>&- 5<&- &
    server=$!
    exec 3<"$folder/stderr"
    while IFS= read -r -t 60 line <&3; do
        printf '%s\n' "$line" >>"$folder/log"
        case $line in *' ready: listening on '*) ready=yes && break ;; esac
    done
    [ -n "$ready" ] || fail "cofferd did not become ready"
    cat <&3 >>"$folder/log" 4>&- 5<&- &
    exec 3<&-
}

stop_server() { # SIGNAL WANTED-CODE
    local code=0
    kill -"$1" "$server"
    wait "$server" 2>/dev/null || code=$?
    [ "$code" -eq "$2" ] || fail "cofferd ended with $code after SIG$1, not $2"
}

ask() { # CURL-ARGUMENT...: from the server's own machine, whose network is good
    on server curl -sS --fail-with-body --max-time 60 "$@"
}

# --- writers and readers -----------------------------------------------------------------------

launch() { # MACHINE NAME OUTPUT COMMAND...: in the background
    become "$1" "${@:4}" >"$3" 2>"$folder/$2.err" 4>&- 5<&- &
    running[$2]=$!
}

writer() { # MACHINE MODE CHANNEL COUNT SEED [CHANNEL...]
    launch "$1" "$3.$5" "$folder/told" "$programs/remote_writer" "$2" "$url" run-9 "${@:3}"
}

curl_writer() { # MACHINE CHANNEL LINES
    "$programs/remote_reader" lines "$2" "$first" 0 "$3" >"$folder/$2.lines"
    launch "$1" "$2.$first" "$folder/told" bash -c 'set -o pipefail
        sh "$1/append-lines" "$2/channels/$3" "$1/$3.lines" |
            while read -r size; do echo "$3 $4 $size"; done' - "$folder" "$dataset" "$2" "$first"
}

ended() { # NAME CODE: wait for it
    local code=0
    wait "${running[$1]}" || code=$?
    unset "running[$1]"
    [ "$code" -eq "$2" ] || fail "$1 ended with $code, not $2: $(cat "$folder/$1.err")"
}

# --- the ledger --------------------------------------------------------------------------------

take_note() { # CHANNEL SEED SIZE
    local who="$1 $2"
    [ "$3" != failed ] || fail "a writer of $1 has failed"
    echo "$*" >>"$folder/ledger"
    [ -n "${began[$who]-}" ] || began[$who]=$3
    [ "$3" -ge "${acked[$who]:-0}" ] || fail "$who went back from ${acked[$who]} to $3 bytes"
    acked[$who]=$3
}

# Also without waiting: the writers are told as fast as they can read.
take_notes() {
    local channel seed size
    while read -r -t 0 <&5; do
        read -r channel seed size <&5 || break # the end: all writers have ended
        take_note "$channel" "$seed" "$size"
    done
}

until_stored() { # CHANNEL BYTES [SEED]: its writer was told so
    local channel seed size until=$((SECONDS + 120))
    while [ "${acked["$1 ${3:-$first}"]:-0}" -lt "$2" ]; do
        if ! read -r -t 60 channel seed size <&5 || [ "$SECONDS" -gt "$until" ]; then
            fail "two minutes were not enough for $2 bytes of $1"
        fi
        take_note "$channel" "$seed" "$size"
    done
}

until_more() { # CHANNEL BYTES: so many more than now
    take_notes
    until_stored "$1" $((${acked["$1 $first"]:-0} + $2))
}

until_batches() { # NUMBER
    until_stored batch-slow "$("$programs/remote_reader" lines batch-slow "$first" 0 $(($1 * batch)) | wc -c)"
}

# Nothing that anybody was told to be durable may be gone.
check_acknowledged() {
    local who size
    take_notes
    ask "$dataset" | jq -r '.channels[] | "\(.name) \(.size)"' >"$folder/sizes"
    for who in "${!acked[@]}"; do
        size=$(awk -v name="${who% *}" '$1 == name { print $2 }' "$folder/sizes")
        [ "${size:-0}" -ge "${acked[$who]}" ] ||
            fail "$who: ${acked[$who]} bytes were acknowledged, ${size:-0} are there"
    done
}

# --- everything begins -------------------------------------------------------------------------

awk '/^<!-- tested: append-lines -->/ { wanted = 1; next }
     wanted && /^```sh$/ { inside = 1; wanted = 0; next }
     /^```$/ { inside = 0 }
     inside' "$COFFER_SOURCE/docs/datasets.md" | sed 's/--max-time 10/--max-time 4/' >"$folder/append-lines"
grep -q curl "$folder/append-lines" || fail 'docs/datasets.md has no block "tested: append-lines"'

net_server
for machine in "${machines[@]}"; do
    net_machine "$machine"
done
net_means
net_lose lossy 3
net_slow slow 8mbit
net_slow shaky 40mbit # so that a large append takes its time
mkfifo "$folder/told"
exec 6<>"$folder/told" # or the next line would wait for a writer
exec 5<"$folder/told"
exec 4>"$folder/told" 6>&-
start_server
ask -X PUT -d '{}' "$dataset" >/dev/null

for machine in "${machines[@]}"; do
    writer "$machine" plain "plain-$machine" 1000000000 "$first"
    writer "$machine" batches "batch-$machine" "$batches" "$first" "${batched[@]}"
    curl_writer "$machine" "curl-$machine" "$curls"
done
for machine in lossy slow apart; do
    writer "$machine" pipelined "pipelined-$machine" 1000000000 "$first"
done
writer shaky large large-shaky 1000000000 "$first"
writer apart plain taken-plain 1000000000 "$first"
writer apart pipelined taken-pipelined 1000000000 "$first"
curl_writer apart taken-curl 20000
for machine in server lossy; do
    launch "$machine" "reader-$machine" "$folder/reader-$machine.out" \
        "$programs/remote_reader" watch "$url" run-9 "$first" "$batch" "${batched[@]}"
done
for machine in shaky apart; do
    until_stored "plain-$machine" 1
    launch "$machine" "follower-$machine" "$folder/followed-$machine" \
        "$programs/remote_reader" follow "$url" run-9 "plain-$machine"
done

# --- and everything goes wrong -----------------------------------------------------------------

take_channels() { # others claim them
    local channel
    for channel in "${taken[@]}"; do
        writer slow plain "$channel" 1000000000 "$second"
        until_stored "$channel" 1 "$second"
    done
    for channel in "${taken[@]}"; do
        until_stored "$channel" $((${began["$channel $second"]} + 1000)) "$second"
    done
}

for channel in "${taken[@]}"; do
    until_stored "$channel" 200
done
for ((round = 0; round < rounds; round++)); do
    done=$((40 * round))
    for more in 4 8 12; do
        until_batches $((done + more))
        until_more large-shaky 1 # it is sending the next one now
        net_reset shaky
    done
    until_batches $((done + 16))
    net_cut apart
    [ "$round" -gt 0 ] || take_channels
    until_more plain-slow 10000
    stop_server KILL 137
    start_server
    check_acknowledged
    until_more plain-slow 10000
    net_reset shaky
    until_more plain-shaky 10000
    net_heal apart
    until_batches $((done + 26))
    net_reset shaky
    until_batches $((done + 32))
    stop_server TERM 0
    start_server
    check_acknowledged
done
until_batches "$batches"

# --- who was shut out, and what is there -------------------------------------------------------

ended taken-plain.$first 4
ended taken-pipelined.$first 4
ended taken-curl.$first 1
grep -q '"code":"fenced"' "$folder/taken-curl.$first.err" || fail "the curl script was not told that it is fenced"
for channel in "${streams[@]/%/.$first}" "${taken[@]/%/.$second}"; do
    kill -TERM "${running[$channel]}"
done
exec 4>&-
code=0
while read -r -t 60 channel seed size <&5 || { code=$? && false; }; do
    take_note "$channel" "$seed" "$size"
done
[ "$code" -eq 1 ] || fail "a writer does not end"
for name in "${!running[@]}"; do
    [[ $name == reader-* || $name == follower-* ]] || ended "$name" 0
done
for machine in server lossy; do
    kill -TERM "${running[reader-$machine]}"
    ended "reader-$machine" 0
    sed "s/^/reader on $machine: /" "$folder/reader-$machine.out"
done
check_acknowledged

expect_lines() { # FILE CHANNEL SEED FROM: the file has just these
    local count
    count=$(wc -l <"$1")
    "$programs/remote_reader" lines "$2" "$3" "$4" "$count" | cmp - "$1" ||
        fail "$2 is not what the writer with seed $3 wrote"
}

fetch() { # CHANNEL SEED: its bytes, all of which the writer was told to be durable
    ask -o "$folder/channel" "$dataset/channels/$1"
    [ "$(stat -c %s "$folder/channel")" -eq "${acked["$1 $2"]}" ] ||
        fail "$1 does not end where its writer ended"
}

expect_records() { # CHANNEL NUMBER
    ask "$dataset" | jq -e --arg name "$1" --argjson number "$2" \
        '.channels[] | select(.name == $name) | .records == $number' >/dev/null ||
        fail "$1 has not $2 records"
}

total=0
for channel in "${streams[@]}" "${batched[@]}" "${machines[@]/#/curl-}"; do
    fetch "$channel" "$first"
    expect_lines "$folder/channel" "$channel" "$first" 0
    number=$(wc -l <"$folder/channel")
    total=$((total + number))
    case $channel in
    large-*) expect_records "$channel" $((number / large)) ;;
    *) expect_records "$channel" "$number" ;;
    esac
    case $channel in
    batch-*) [ "$number" -eq $((batches * batch)) ] || fail "$channel has $number lines" ;;
    curl-*) [ "$number" -eq "$curls" ] || fail "$channel has $number lines" ;;
    esac
done
for channel in "${taken[@]}"; do
    at=${began["$channel $second"]}
    [ "$at" -ge "${acked["$channel $first"]}" ] ||
        fail "$channel was taken at $at, but ${acked["$channel $first"]} bytes were acknowledged before"
    fetch "$channel" "$second"
    head -c "$at" "$folder/channel" >"$folder/before"
    expect_lines "$folder/before" "$channel" "$first" 0
    tail -c "+$((at + 1))" "$folder/channel" >"$folder/after"
    expect_lines "$folder/after" "$channel" "$second" "$(wc -l <"$folder/before")"
done

# A batch is one version, of all four channels or of none.
ask -H 'Accept: application/x-ndjson' "$dataset/versions" |
    jq -s -e --argjson batches "$batches" '
        [.[].channels | keys | map(select(startswith("batch-"))) | length | select(. > 0)] |
        length == $batches and all(.[]; . == 4)' >/dev/null || fail "versions are not the batches"
ask -X POST "$dataset/close" >/dev/null
for machine in shaky apart; do
    ended "follower-$machine" 0
    ask "$dataset/channels/plain-$machine" | cmp - "$folder/followed-$machine" ||
        fail "what came to the follower on $machine is not what the channel is"
done
stop_server TERM 0
echo "$total lines of 16 writers and those of $((2 * ${#taken[@]})) more are there, each once; $batches batches"
