# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with the other parts
# Datasets beyond single appends: transactions, a million lines in one body, sequential reads, and
# what many channels and datasets cost a start. Sourced by run.sh, after case_append.sh.

# --- transactions: opened, four channels appended to, committed ----------------------------

commit_channels=4

commit_before() { # WHO
    dataset_new || return 1
    append_syncs=$(coffer_number syncs)
}

commit_request() { # WHO PATH
    request=(BENCH_PATH="${2//\{dataset\}/$append_dataset}" BENCH_CHANNELS="$commit_channels"
        BENCH_BODY="$work/body-commit" BENCH_SEED="$RANDOM")
}

commit_settle() { settle_disk; }

# Each commit made a version, and each of its appends is a record.
commit_after() { # WHO
    local commits versions records syncs
    syncs=$(coffer_number syncs) || return 1
    extra=$(jq -nc --argjson n $((syncs - append_syncs)) '{syncs: $n}')
    commits=$(jq .requests <<<"$load_result")
    versions=$(curl -sS -f "$(dataset_url)" | jq .version) || return 1
    records=$(dataset_records) || return 1
    [ "$versions" -ge "$commits" ] && [ "$records" -eq $((versions * commit_channels)) ] ||
        fault "$1" "$commits commits acknowledged, $versions versions of $records records" || return 1
    dataset_remove
}

commit_case() { # NAME CONNECTIONS...
    local who count
    case_name=$1 case_script=commit.lua case_hooks=commit case_who=()
    contestant coffer || return 0
    head -c 100 /dev/urandom | base64 -w 0 >"$work/body-commit"
    coffer_use "$work/coffer-$case_name" || return 1
    for count in "${@:2}"; do
        who=writers-$count
        variants[$who]="transaction coffer /v1/datasets/{dataset}"
        one_each[$who]=$count
        case_who+=("$who")
    done
    measure
    coffer_drop "$work/coffer-$case_name"
}

# --- a million lines in one body -----------------------------------------------------------

lines_write() { # COUNT
    awk -v count="$1" 'BEGIN { for (i = 0; i < count; i++) printf "%07d\n", i % 10000000 }'
}

# The body comes through a pipe, so in chunks of unknown number: what a program would stream.
ndjson_round() { # FILE LINES
    local before after took records
    dataset_new || return 1
    settle_disk
    before=$(processor_ticks "$(coffer_pid)")
    took=$(curl -sS -f -o "$work/answer" -w '%{time_total}' -X POST -T - -H 'Expect:' \
        -H 'Content-Type: application/x-ndjson' "$(dataset_url /channels/lines)" < <(cat "$1")) ||
        fault coffer "POST of $2 lines failed" || return 1
    after=$(processor_ticks "$(coffer_pid)")
    records=$(jq .records "$work/answer")
    value_record append_seconds "$took"
    value_record append_processor_seconds "$(jq -n "($after - $before) / $(getconf CLK_TCK)")"
    took=$(curl -sS -f -o "$work/answer" -w '%{time_total}' "$(dataset_url /channels/lines)")
    value_record read_seconds "$took"
    [ "$records" -eq "$2" ] && cmp -s "$1" "$work/answer" ||
        fault coffer "$records of $2 lines acknowledged, and not the same are read" || return 1
    dataset_remove
}

ndjson_case() { # NAME LINES
    local round
    case_name=$1
    contestant coffer || return 0
    coffer_use "$work/coffer-$case_name" || return 1
    lines_write "$2" >"$work/lines"
    for ((round = 0; round < rounds; round++)); do
        ndjson_round "$work/lines" "$2" || return 1
    done
    coffer_drop "$work/coffer-$case_name"
}

# --- a million words through libcoffer's streams -------------------------------------------

# The example tries several ways and looks itself whether every word is there. Its lines are
# "WAY  N channels  write S s  RATE words/s   read S s  RATE words/s".
words_round() { # ROUND WRITERS WORDS
    "$examples/words" "http://${address[coffer]}" "words-$1-$2" "$3" "$2" >"$work/words.out" 2>"$work/words.err" ||
        fault "$2 writers" "it ended with $?: $(head -n 1 "$work/words.err")" || return 1
    sed -E 's/^(.*[^ ]) +([0-9]+) channels +write .* s +([0-9]+) words\/s +read .* s +([0-9]+) words\/s$/\1;\2;\3;\4/' \
        "$work/words.out" | jq -cR --arg case "$case_name" --argjson round "$1" '
        def row($who; $rate): {kind: "round", case: $case, who: $who, round: $round, variant: "stream",
            rate: ($rate | tonumber), size: 8};
        split(";") | row("\(.[1]) writers: \(.[0])"; .[2]),
            (select(.[0] == "fwrite") | row("\(.[1]) channels read"; .[3]))' \
        >>"$results" || fault "$2 writers" "what it printed cannot be read"
}

words_case() { # NAME WORDS WRITERS...
    local round writers
    case_name=$1
    contestant coffer || return 0
    [ -x "$examples/words" ] || fault coffer "no $examples/words: ./dev build makes it" || return 1
    coffer_use "$work/coffer-$case_name" || return 1
    for ((round = 1; round <= rounds; round++)); do
        for writers in "${@:3}"; do
            settle_disk
            words_round "$round" "$writers" "$2" || return 1
            say "$case_name round $round: $writers writers"
        done
    done
    coffer_drop "$work/coffer-$case_name"
}

# --- sequential reads: a whole channel beside chunks of the size of its blocks -------------

stream_mebibytes=16
declare -A stream_sizes=() # bytes of each channel

stream_before() { :; }

stream_request() { # WHO PATH
    request=(BENCH_PATH="${2//\{dataset\}/$append_dataset}" BENCH_KEYS="$work/keys-stream"
        BENCH_ORDER=loop)
}

stream_settle() { settle_disk; }

stream_after() { # WHO
    extra=$(jq -nc --argjson n "${stream_sizes[$1]}" '{size: $n}')
}

# Fill channel NAME with what is in the file, and see that it is there.
stream_append() { # NAME FILE CURL OPTION...
    curl -sS -f -o "$work/answer" -X POST -T "$2" "${@:3}" "$(dataset_url "/channels/$1")" ||
        fault "$1" "an append failed"
}

stream_check() { # NAME FILE
    stream_sizes[$1]=$(stat -c %s "$2")
    curl -sS -f "$(dataset_url "/channels/$1")" | cmp -s - "$2" ||
        fault "$1" "what is read is not what was appended"
}

# Chunks of a mebibyte, appends of a mebibyte, lines (which are compressed), and what many writers of
# small appends leave: short blocks.
stream_fill() {
    local part
    coffer_fill 7 0 "$stream_mebibytes" 1048576 || return 1
    keys_write 7 "$stream_mebibytes" 1048576 "$work/keys-stream"
    stream_sizes[chunks]=1048576
    dataset_new || return 1
    head -c $((stream_mebibytes << 20)) /dev/urandom >"$work/stream"
    split -b 1048576 -a 3 "$work/stream" "$work/stream-"
    for part in "$work"/stream-???; do
        stream_append appends "$part" || return 1
        rm -f "$part"
    done
    stream_check appends "$work/stream" || return 1
    lines_write $((stream_mebibytes << 17)) >"$work/stream"
    stream_append lines "$work/stream" -H 'Content-Type: application/x-ndjson' || return 1
    stream_check lines "$work/stream" || return 1
    head -c 1048576 /dev/urandom >"$work/pool-100"
    request=(BENCH_PATH="/v1/datasets/$append_dataset/channels/{channel}" BENCH_CHANNELS=1
        BENCH_BODY="$work/pool-100" BENCH_SIZE=100)
    case_script=append.lua load small "http://${address[coffer]}/" 1 "$seconds" || return 1
    curl -sS -f -o "$work/stream" "$(dataset_url /channels/000000)" || return 1
    stream_sizes[small]=$(stat -c %s "$work/stream")
    [ "${stream_sizes[small]}" -ge $((100 * $(jq .requests <<<"$load_result"))) ] ||
        fault small "not all that was acknowledged is there"
}

stream_case() { # NAME CONNECTIONS
    local name connections=64
    case_name=$1 case_hooks=stream case_who=(chunks appends lines small)
    contestant coffer || return 0
    coffer_use "$work/coffer-$case_name" || return 1
    stream_fill || return 1
    variants[chunks]="chunk coffer /v1/chunks/{key}"
    variants[appends]="channel coffer /v1/datasets/{dataset}/channels/appends"
    variants[lines]="channel coffer /v1/datasets/{dataset}/channels/lines"
    variants[small]="channel coffer /v1/datasets/{dataset}/channels/000000"
    connections=$2 case_script=get.lua
    measure
    coffer_drop "$work/coffer-$case_name"
}

# --- many channels, many datasets: start and memory ----------------------------------------

streams_restart() { # WHAT
    value_record "resident_mebibytes_$1" "$(memory_mebibytes VmRSS)"
    end_child coffer KILL
    coffer_start "$work/coffer-$case_name" || return 1
    value_record "ready_seconds_$1" "$coffer_start_seconds"
    value_record "resident_mebibytes_after_$1" "$(memory_mebibytes VmRSS)"
    say "$case_name: $1: ready $coffer_start_seconds s after kill -9"
}

# A million single appends, each of which was waited for, over a thousand channels.
streams_appends() { # APPENDS CHANNELS
    local answered records
    dataset_new || return 1
    head -c 1048576 /dev/urandom >"$work/pool-10"
    request=(BENCH_PATH="/v1/datasets/$append_dataset/channels/{channel}" BENCH_CHANNELS="$2"
        BENCH_BODY="$work/pool-10" BENCH_SIZE=10 BENCH_COUNT="$1")
    case_script=append.lua load appends "http://${address[coffer]}/" 1 600 || return 1
    answered=$(jq .requests <<<"$load_result")
    value_record appends_per_second "$(jq .rate <<<"$load_result")"
    streams_restart appends || return 1
    records=$(dataset_records) || return 1
    [ "$records" -ge "$answered" ] ||
        fault coffer "$answered appends acknowledged, $records there after kill -9" || return 1
    curl -sS -f "$(dataset_url "/channels/[000000-$(printf '%06d' $(($2 - 1)))]")" >"$work/answer"
    [ "$(stat -c %s "$work/answer")" -eq $((10 * records)) ] ||
        fault coffer "not all of the $records records can be read" || return 1
    value_record resident_mebibytes_read "$(memory_mebibytes VmRSS)"
}

streams_datasets() { # COUNT
    local path answered
    path="/v1/datasets/set-[000000-$(printf '%06d' $(($1 - 1)))]"
    say "$case_name: making $1 datasets"
    curl -sS -f --fail-early -o "$work/answer" -X PUT -H 'Content-Type: application/json' -d '{}' \
        "http://${address[coffer]}$path" &&
        curl -sS -f --fail-early -o "$work/answer" -d 'one record' \
            "http://${address[coffer]}$path/channels/a" ||
        fault coffer "datasets cannot be made" || return 1
    streams_restart datasets || return 1
    answered=$(curl -sS -f "http://${address[coffer]}$path/channels/a" | wc -c)
    [ "$answered" -eq $((10 * $1)) ] || fault coffer "$answered of $((10 * $1)) bytes are there"
}

streams_case() { # NAME APPENDS CHANNELS DATASETS
    case_name=$1
    contestant coffer || return 0
    enough_space $(($2 * 2048)) || return 1
    coffer_use "$work/coffer-$case_name" || return 1
    say "$case_name: $2 appends to $3 channels"
    streams_appends "$2" "$3" && streams_datasets "$4"
    coffer_drop "$work/coffer-$case_name"
}
