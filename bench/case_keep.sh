# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with the other parts
# The life of many small chunks: inserted, extracted, looked at, proved, deleted, their space given
# back, and the index made again. Only coffer is measured here. Sourced by run.sh.

keep_request() { # WHO PATH
    request=(BENCH_PATH="$2" BENCH_KEYS="$work/keys-$1" BENCH_ORDER=loop)
}
keep_before() { :; }
keep_settle() { :; }
keep_after() { :; }

keep_case() { # NAME COUNT SIZE
    local count=$2 size=$3 folder=$work/coffer-keep
    # Nothing is repacked but what is measured.
    local -a coffer_options=("${coffer_options[@]}" --repack-dead-ratio=0)
    case_name=$1 case_script=get.lua case_hooks=keep
    contestant coffer || return 0
    enough_space $((count * (size + 2048) * 2)) || return 1
    keys_write 7 "$count" "$size" "$work/keys-present"
    keys_write 8 "$count" "$size" "$work/keys-absent"
    coffer_use "$folder" || return 1
    keep_insert "$count" "$size" || return 1
    keep_extract "$count" "$size" hot || return 1
    keep_extract "$count" "$size" hot_in_order "?order=request" || return 1
    coffer_stop || return 1
    drop_caches
    coffer_start "$folder" || return 1
    keep_extract "$count" "$size" cold || return 1
    keep_stat "$count" || return 1
    variants[present]="chunk coffer /v1/chunks/{key}"
    variants[absent]=${variants[present]}
    case_who=(present absent)
    measure || return 1
    keep_job pack '{"kind":"pack"}' || return 1
    keep_job validate '{"kind":"validate"}' || return 1
    [ "$(jq -c .result.damaged <<<"$keep_result")" = "[]" ] ||
        fault coffer "validate found damage: $keep_result" || return 1
    keep_delete "$count" || return 1
    keep_job repack '{"kind":"repack","dead_ratio":0.3}' || return 1
    [ "$(jq .result.bytes_freed <<<"$keep_result")" -gt 0 ] ||
        fault coffer "repack freed nothing: $keep_result" || return 1
    value_record peak_resident_mebibytes "$(memory_mebibytes VmHWM)"
    keep_rebuild "$folder" $((count - count / 2)) || return 1
    coffer_drop "$folder"
}

# The tars are made before the clock runs: the server is measured, not who makes the bodies.
keep_insert() { # COUNT SIZE
    local left=$1 first=0 batch count before micros=0
    batch=$((60 * 1048576 / (($2 + 511) / 512 * 512 + 512)))
    while [ "$left" -gt 0 ]; do
        count=$((left < batch ? left : batch))
        "$tools/bench_data" tar 7 "$first" "$count" "$2" >"$work/batch.tar" ||
            fault bench "cannot make a tar" || return 1
        before=${EPOCHREALTIME/[.,]/}
        curl -sS -f -X POST -H 'Content-Type: application/x-tar' -H 'Expect:' -T "$work/batch.tar" \
            -o "$work/inserted" "http://${address[coffer]}/v1/chunks/insert" ||
            fault coffer "POST /v1/chunks/insert failed" || return 1
        micros=$((micros + ${EPOCHREALTIME/[.,]/} - before))
        [ "$(grep -cE '"created": *true' "$work/inserted")" -eq "$count" ] ||
            fault coffer "insert did not create $count chunks" || return 1
        first=$((first + count)) left=$((left - count))
    done
    rm -f "$work/batch.tar"
    keep_rate insert "$1" "$micros"
}

keep_rate() { # WHAT COUNT MICROSECONDS
    value_record "$1_per_second" $(($2 * 1000000 / ($3 > 0 ? $3 : 1)))
    say "$case_name: $1 of $2 in $(micros_to_seconds "$3") s"
}

# All of them in one request, their names in random order.
keep_extract() { # COUNT SIZE WHAT [QUERY]
    local before micros resident bytes
    echo 5 2>/dev/null >"/proc/$(coffer_pid)/clear_refs" || true
    resident=$(memory_mebibytes VmRSS)
    before=${EPOCHREALTIME/[.,]/}
    bytes=$(curl -sS -f -X POST -H 'Content-Type: text/plain' -H 'Expect:' \
        -o /dev/null -w '%{size_download}' --data-binary "@$work/keys-present" \
        "http://${address[coffer]}/v1/chunks/extract${4-}") ||
        fault coffer "POST /v1/chunks/extract failed" || return 1
    micros=$((${EPOCHREALTIME/[.,]/} - before))
    [ "$bytes" -ge $(($1 * (($2 + 511) / 512 * 512 + 512))) ] ||
        fault coffer "extract gave only $bytes bytes" || return 1
    keep_rate "extract_$3" "$1" "$micros"
    value_record "extract_$3_peak_growth_mebibytes" $(($(memory_mebibytes VmHWM) - resident))
}

keep_stat() { # COUNT
    local which before micros
    for which in present absent; do
        before=${EPOCHREALTIME/[.,]/}
        curl -sS -f -X POST -H 'Content-Type: text/plain' -H 'Expect:' -o /dev/null \
            --data-binary "@$work/keys-$which" "http://${address[coffer]}/v1/chunks/stat" ||
            fault coffer "POST /v1/chunks/stat failed" || return 1
        micros=$((${EPOCHREALTIME/[.,]/} - before))
        keep_rate "stat_$which" "$1" "$micros"
    done
}

# Half of them, spread over all packs.
keep_delete() { # COUNT
    local before micros half=$(($1 / 2))
    head -n "$half" "$work/keys-present" >"$work/keys-dead"
    before=${EPOCHREALTIME/[.,]/}
    curl -sS -f -X POST -H 'Content-Type: text/plain' -H 'Expect:' -o "$work/answer" \
        --data-binary "@$work/keys-dead" "http://${address[coffer]}/v1/chunks/delete" ||
        fault coffer "POST /v1/chunks/delete failed" || return 1
    micros=$((${EPOCHREALTIME/[.,]/} - before))
    [ "$(cat "$work/answer")" = "{\"deleted\":$half,\"missing\":[]}" ] ||
        fault coffer "delete answered $(head -c 200 "$work/answer")" || return 1
    keep_rate delete "$half" "$micros"
}

# Run a job to its end; what it says then is in $keep_result.
keep_job() { # WHAT BODY
    local before micros resident where
    echo 5 2>/dev/null >"/proc/$(coffer_pid)/clear_refs" || true
    resident=$(memory_mebibytes VmRSS)
    before=${EPOCHREALTIME/[.,]/}
    where=$(curl -sS -f -H 'Content-Type: application/json' -o /dev/null -w '%header{location}' \
        -d "$2" "http://${address[coffer]}/v1/jobs") ||
        fault coffer "POST /v1/jobs $2 failed" || return 1
    # The stream of events ends with the job.
    curl -sS -f -N -o /dev/null "http://${address[coffer]}$where/events" ||
        fault coffer "GET $where/events failed" || return 1
    micros=$((${EPOCHREALTIME/[.,]/} - before))
    keep_result=$(curl -sS -f "http://${address[coffer]}$where")
    [ "$(jq -r .state <<<"$keep_result")" = done ] ||
        fault coffer "the job $1 ended as $keep_result" || return 1
    value_record "$1_seconds" "$(micros_to_seconds "$micros")"
    value_record "$1_peak_growth_mebibytes" $(($(memory_mebibytes VmHWM) - resident))
    say "$case_name: $1 in $(micros_to_seconds "$micros") s"
}

# A start without an index makes it again from the packs before it is ready.
keep_rebuild() { # FOLDER CHUNKS
    coffer_stop || return 1
    rm -rf -- "$1/index"
    coffer_start "$1" || return 1
    value_record rebuild_seconds "$coffer_start_seconds"
    value_record rebuild_peak_mebibytes "$(memory_mebibytes VmHWM)"
    say "$case_name: the index made again in $coffer_start_seconds s"
    [ "$(coffer_number chunks)" -eq "$2" ] ||
        fault coffer "$(coffer_number chunks) of $2 chunks are there after the rebuild"
}
