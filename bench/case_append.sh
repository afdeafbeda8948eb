# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with the other parts
# Appends to the channels of a dataset, and reads of a channel, beside the chunk of the same size.
# Sourced by run.sh.
#
# A contestant of these cases is a way to use one and the same coffer: "post" stores chunks,
# "plain-N" appends to N channels, "staged-N" does so in one transaction for the whole run, whose
# commit is part of the time.

append_serial=0 append_dataset="" append_size=0 append_syncs=0

# --- a dataset -----------------------------------------------------------------------------

dataset_url() { # [PATH]
    echo "http://${address[coffer]}/v1/datasets/$append_dataset${1-}"
}

# Make a dataset that nobody has used.
dataset_new() {
    append_serial=$((append_serial + 1))
    append_dataset=bench-$append_serial
    curl -sS -f -o "$work/answer" -X PUT -H 'Content-Type: application/json' -d '{}' \
        "$(dataset_url)" || fault coffer "PUT $(dataset_url) failed"
}

dataset_remove() {
    curl -sS -f -o "$work/answer" -X DELETE "$(dataset_url)" ||
        fault coffer "DELETE $(dataset_url) failed"
}

dataset_post() { # PATH JSON: the answer goes to $work/answer
    curl -sS -f -o "$work/answer" -H 'Content-Type: application/json' -d "$2" \
        "$(dataset_url "$1")" || fault coffer "POST $(dataset_url "$1") failed"
}

# Records in all channels; what was acknowledged must be among them.
dataset_records() {
    curl -sS -f "$(dataset_url)" | jq '[.channels[].records] | add // 0' ||
        fault coffer "GET $(dataset_url) failed"
}

# --- appends -------------------------------------------------------------------------------

append_before() { # WHO
    enough_space $((4 << 30)) || return 1
    if [ "$1" = post ]; then
        put_before synced
        return
    fi
    dataset_new || return 1
    append_syncs=$(coffer_number syncs) || return 1
    [[ $1 != staged-* ]] || dataset_post /transactions '{"id":"bench","ttl":600}'
}

append_request() { # WHO PATH
    if [ "$1" = post ]; then
        case_script=put.lua
        put_request synced "$2"
        return
    fi
    case_script=append.lua
    request=(BENCH_PATH="${2//\{dataset\}/$append_dataset}" BENCH_CHANNELS="${1#*-}"
        BENCH_BODY="$work/pool-$append_size" BENCH_SIZE="$append_size")
    [[ $1 != staged-* ]] || request+=(BENCH_HEADERS=$'Coffer-Transaction: bench\r\n')
}

# A block is a mebibyte: small bodies get their bytes from more, none of them twice soon.
append_pool() { # SIZE
    append_size=$1
    head -c $(($1 < 1048576 ? 4194304 : $1)) /dev/urandom >"$work/pool-$1"
}

append_settle() { settle_disk; }

append_after() { # WHO
    local answered records syncs
    if [ "$1" = post ]; then
        put_after synced
        return
    fi
    answered=$(jq .requests <<<"$load_result")
    [[ $1 != staged-* ]] || append_commit || return 1
    syncs=$(coffer_number syncs) || return 1
    extra=$(jq -nc --argjson n $((syncs - append_syncs)) --argjson size "$append_size" \
        '{syncs: $n, size: $size}')
    records=$(dataset_records) || return 1
    [ "$records" -ge "$answered" ] ||
        fault "$1" "$answered appends acknowledged, $records there" || return 1
    dataset_remove
}

# What was staged counts once it is committed, so that takes part of the time.
append_commit() {
    local before=${EPOCHREALTIME/[.,]/} took
    dataset_post /transactions/bench/commit '{}' || return 1
    took=$((${EPOCHREALTIME/[.,]/} - before))
    load_result=$(jq -c --argjson took "$took" \
        '.seconds += $took / 1000000 | .rate = .requests / .seconds' <<<"$load_result")
}

append_case() { # NAME SIZE SIZE_OF_CHUNKS WHO...
    local who
    case_name=$1 put_size=$3 case_hooks=append
    case_who=(post "${@:4}")
    contestant coffer || return 0
    append_pool "$2"
    head -c "$put_size" /dev/urandom >"$work/body-$put_size"
    coffer_use "$work/coffer-$case_name" || return 1
    for who in "${case_who[@]}"; do
        variants[$who]="append coffer /v1/datasets/{dataset}/channels/{channel}"
    done
    variants[post]="chunk coffer /v1/chunks"
    measure
    coffer_drop "$work/coffer-$case_name"
}
