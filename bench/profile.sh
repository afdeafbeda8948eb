#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2154 # variables shared with the sourced parts
# Where cofferd spends its time: one load, sampled by perf (package linux-perf), the costliest
# functions printed. Samples are by the clock, so that it works where counters are not to be had.
set -uo pipefail

usage() {
    cat <<'TEXT'
usage: bench/profile.sh get|synced|buffered SIZE [SECONDS [cofferd OPTION...]]

  get SIZE        reads of bodies of SIZE bytes, hot; synced, buffered: writes of new ones
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

connections=64 keep_work="" case_name=profile
coffer_options=()

main() {
    local who=${1-} size=${2-} seconds=${3:-5}
    [[ $who =~ ^(get|synced|buffered)$ && $size =~ ^[1-9][0-9]*$ ]] || {
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
    if [ "$who" = get ]; then
        case_script=get.lua
        coffer_fill 1 0 1000 "$size" || exit 1
        get_keys=$work/keys
        keys_write 1 1000 "$size" "$get_keys"
        get_request coffer "/v1/chunks/{key}"
    else
        case_script=put.lua put_size=$size
        head -c "$size" /dev/urandom >"$work/body-$size"
        put_request "$who" /v1/chunks
    fi
    sampled_load "$who" "$seconds"
}

processor_ticks() { # PID: user and system time so far
    awk '{ print $14 + $15 }' "/proc/$1/stat"
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
