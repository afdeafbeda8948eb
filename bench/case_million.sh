# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with the other parts
# A million chunks: the start after a kill, memory, hits and misses, one request for all of them;
# and the syncs counted from outside. Only coffer is measured here. Sourced by run.sh.

million_request() { # WHO PATH
    request=(BENCH_PATH="$2" BENCH_KEYS="$work/keys-$1" BENCH_ORDER=loop)
}
million_before() { :; }
million_settle() { :; }
million_after() { :; }

memory_mebibytes() { # FIELD of /proc/PID/status
    awk -v field="$1:" '$1 == field { printf "%.0f", $2 / 1024 }' "/proc/$(coffer_pid)/status"
}

million_case() { # NAME COUNT
    local count=$2 before folder=$work/coffer-million
    case_name=$1 case_script=get.lua case_hooks=million
    contestant coffer || return 0
    enough_space $((count * 1024 * 3)) || return 1
    coffer_use "$folder" || return 1
    say "$case_name: inserting $count chunks"
    before=${EPOCHREALTIME/[.,]/}
    coffer_fill 3 0 "$count" 1024 || return 1
    value_record insert_per_second $((count * 1000000 / (${EPOCHREALTIME/[.,]/} - before)))

    end_child coffer KILL
    coffer_start "$folder" || return 1
    value_record ready_seconds_after_kill "$coffer_start_seconds"
    say "$case_name: ready $coffer_start_seconds s after kill -9"
    [ "$(coffer_number chunks)" -eq "$count" ] ||
        fault coffer "$(coffer_number chunks) of $count durable chunks are there after kill -9" || return 1

    keys_write 3 "$count" 1024 "$work/keys-present"
    keys_write 4 "$count" 1024 "$work/keys-absent"
    million_read_all || return 1
    variants[present]="chunk coffer /v1/chunks/{key}"
    variants[absent]=${variants[present]}
    case_who=(present absent)
    measure
    value_record peak_resident_mebibytes "$(memory_mebibytes VmHWM)"
    million_batches "$count" || return 1
    coffer_drop "$folder"
}

# One request for all names, in random order: how long, and how much memory more than before it.
million_batches() { # COUNT
    local what path out before resident seconds expected
    for what in stat extract extract_in_order delete; do
        path=/v1/chunks/$what out=/dev/null
        [ "$what" != extract_in_order ] || path="/v1/chunks/extract?order=request"
        [ "$what" != delete ] || out=$work/answer
        # The peak starts anew, where the kernel lets us; else it is that of all before.
        echo 5 2>/dev/null >"/proc/$(coffer_pid)/clear_refs" || true
        resident=$(memory_mebibytes VmRSS)
        before=${EPOCHREALTIME/[.,]/}
        curl -sS -f -X POST -H 'Content-Type: text/plain' -H 'Expect:' -o "$out" \
            --data-binary "@$work/keys-present" "http://${address[coffer]}$path" ||
            fault coffer "POST $path failed" || return 1
        seconds=$(micros_to_seconds $((${EPOCHREALTIME/[.,]/} - before)))
        value_record "${what}_seconds" "$seconds"
        value_record "${what}_peak_growth_mebibytes" $(($(memory_mebibytes VmHWM) - resident))
        say "$case_name: $what of $1 in $seconds s"
    done
    expected="{\"deleted\":$1,\"missing\":[]}"
    [ "$(cat "$work/answer")" = "$expected" ] ||
        fault coffer "delete answered $(head -c 200 "$work/answer")"
}

# Every name once, by one thread; ten minutes are a limit, not a measure.
million_read_all() {
    say "$case_name: reading all of them"
    request=(BENCH_PATH="/v1/chunks/{key}" BENCH_KEYS="$work/keys-present" BENCH_ORDER=once)
    load coffer "http://${address[coffer]}/" 1 600 || return 1
    value_record resident_mebibytes "$(memory_mebibytes VmRSS)"
}

# --- syncs, as the kernel sees them --------------------------------------------------------

syncs_case() { # NAME
    local answered traced reported
    case_name=$1 case_script=put.lua case_hooks=put put_size=1024
    contestant coffer || return 0
    if ! strace -c -o "$work/strace.out" true 2>/dev/null; then
        say "$case_name: strace may not trace here, skipped"
        return 0
    fi
    head -c "$put_size" /dev/urandom >"$work/body-$put_size"
    coffer_stop || return 1
    # The filter keeps strace out of the way of every other system call.
    coffer_start "$work/coffer-syncs" strace -f --seccomp-bpf -c -o "$work/strace.out" \
        -e trace=fdatasync,fsync,sync_file_range,syncfs,sync,msync || return 1
    put_before synced || return 1
    put_request synced /v1/chunks
    load synced "http://${address[coffer]}/" "${thread_counts[0]}" "$seconds" || return 1
    extra="{}"
    put_after synced || return 1
    answered=$(jq .requests <<<"$load_result")
    reported=$(jq .syncs <<<"$extra")
    coffer_stop || return 1
    traced=$(awk '$NF ~ /^(fdatasync|fsync|sync_file_range|syncfs|sync|msync)$/ { n += $4 } END { print n + 0 }' \
        "$work/strace.out")
    value_record syncs_per_write_traced "$(jq -n "$traced / $answered")"
    value_record syncs_per_write_reported "$(jq -n "$reported / $answered")"
    # Start and stop have some of their own: folders, the index.
    value_record syncs_per_write_unreported "$(jq -n "($traced - $reported) / $answered")"
    say "$case_name: $answered writes, $traced syncs traced from start to stop, $reported reported"
    coffer_drop "$work/coffer-syncs"
}
