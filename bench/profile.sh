#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2154 # variables shared with the sourced parts
# Where cofferd spends its time: one load, sampled by perf (package linux-perf), the costliest
# functions printed. Samples are by the clock, so that it works where counters are not to be had.
set -uo pipefail

usage() {
    cat <<'TEXT'
usage: bench/profile.sh CASE SIZE [SECONDS [cofferd OPTION...]]

  get SIZE        reads of chunks of SIZE bytes, hot; synced, buffered: writes of new ones
  plain-N SIZE    appends of SIZE bytes to N channels; staged-N: the same in a transaction
  channel SIZE    reads of a whole channel that was made of appends of SIZE bytes
  lines SIZE      appends of SIZE bytes of lines
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
cofferd=${COFFERD:-$root/build/release/bin/cofferd}
tools=${BENCH_TOOLS:-$root/build/release/bench}
out=${BENCH_OUT:-$root/build/bench}
# shellcheck source=process.sh
source "$here/process.sh"
# shellcheck source=measure.sh
source "$here/measure.sh"
# shellcheck source=contestants.sh
source "$here/contestants.sh"
# shellcheck source=case_get.sh
source "$here/case_get.sh"
# shellcheck source=case_put.sh
source "$here/case_put.sh"
# shellcheck source=case_append.sh
source "$here/case_append.sh"

connections=64 keep_work="" case_name=profile
coffer_options=()

main() {
    local who=${1-} size=${2-} seconds=${3:-5}
    [[ $who =~ ^(get|synced|buffered|channel|lines|(plain|staged)-[1-9][0-9]*)$ && $size =~ ^[1-9][0-9]*$ ]] || {
        usage >&2
        exit 2
    }
    coffer_options=("${@:4}")
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    work=$(mktemp -d "$out/profile-XXXXXX")
    results=$work/results
    coffer_start "$work/coffer" || exit 1
    "prepare_${who%%-*}" "$who" "$size" || exit 1
    sampled_load "$who" "$seconds"
}

prepare_get() { # WHO SIZE
    case_script=get.lua get_keys=$work/keys
    coffer_fill 1 0 1000 "$2" || return 1
    keys_write 1 1000 "$2" "$get_keys"
    get_request coffer "/v1/chunks/{key}"
}

prepare_synced() { # WHO SIZE
    case_script=put.lua put_size=$2
    head -c "$2" /dev/urandom >"$work/body-$2"
    put_request "$1" /v1/chunks
}

prepare_buffered() { prepare_synced "$@"; }

prepare_plain() { # WHO SIZE
    append_pool "$2"
    append_before "$1" || return 1
    append_request "$1" "/v1/datasets/{dataset}/channels/{channel}"
}

prepare_staged() { prepare_plain "$@"; }

prepare_lines() { # WHO SIZE
    append_size=$2
    awk -v size="$2" 'BEGIN { for (; size > 0; size -= 8) printf "%07d\n", size }' | head -c "$2" >"$work/pool-$2"
    append_before plain-1 || return 1
    append_request plain-1 "/v1/datasets/{dataset}/channels/{channel}"
    request+=(BENCH_HEADERS=$'Content-Type: application/x-ndjson\r\n')
}

# A channel of some 32 MiB made by such appends.
prepare_channel() { # WHO SIZE
    prepare_plain plain-1 "$2" || return 1
    request+=(BENCH_COUNT=$(((32 << 20) / $2 + 1)))
    load "$1" "http://${address[coffer]}/" 2 60 || return 1
    say "a channel of $(curl -sS -f "$(dataset_url)" | jq -c '.channels[0]')"
    yes 0000000000000000000000000000000000000000000000000000000000000000 | head -n 9 >"$work/keys"
    case_script=get.lua get_keys=$work/keys connections=8
    get_request coffer "/v1/datasets/$append_dataset/channels/000000"
}

sampled_load() { # WHO SECONDS
    local data=$out/perf-$1.data before after pid
    pid=$(coffer_pid)
    before=$(processor_ticks "$pid")
    spawn perf perf record -q -e cpu-clock -F 997 -g -o "$data" -p "$pid"
    load "$1" "http://${address[coffer]}/" 2 "$2" || exit 1
    after=$(processor_ticks "$pid")
    end_child perf INT || true
    jq -r --arg who "$1" --argjson ticks "$((after - before))" --argjson hertz "$(getconf CLK_TCK)" '
        "\($who): \(.rate | floor) requests a second, each \($ticks * 1000000 / $hertz / .requests | floor) us of processor time in \(
            $ticks / $hertz / .seconds * 100 | floor / 100) processors"' <<<"$load_result"
    printf '\n== time by thread and library ==\n'
    perf report -i "$data" --no-children -g none --stdio --sort comm,dso 2>/dev/null |
        grep -v -e '^#' -e '^$' | head -n 24
    printf '\n== functions, their own time ==\n'
    perf report -i "$data" --no-children -g none --stdio --sort dso,symbol 2>/dev/null |
        grep -v -e '^#' -e '^$' | head -n 50
    printf '\n== functions with what they call ==\n'
    perf report -i "$data" --children -g none --stdio --sort symbol 2>/dev/null |
        grep -v -e '^#' -e '^$' | head -n 70
    say "all of it: perf report -i $data"
}

main "$@"
