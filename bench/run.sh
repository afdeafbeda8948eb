#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2154 # variables shared with the sourced parts
# Measure cofferd beside nginx and a bare libmicrohttpd server; bench/README.md says what and how.
set -uo pipefail

usage() {
    cat <<'TEXT'
usage: ./dev bench [OPTION...]

  --quick            2 rounds of 1 s and small sets: does it work, not how fast
  --rounds N         rounds of each case (default 5)
  --seconds N        seconds of each timed run (default 3)
  --only CASES       only these: names or patterns such as 'get-*', separated by commas
  --without WHO      leave out a contestant: nginx, bare or coffer; repeatable
  --connections N    connections (default 64)
  --threads LIST     wrk's thread counts to try in the warm-up (default 2,1)
  --cofferd FILE     the server (default build/release/bin/cofferd)
  --cofferd-option O one more option for it, such as --cofferd-option=--sync-delay=1ms; repeatable
  --tools DIR        bench_data and the others (default build/release/bench)
  --examples DIR     those of libcoffer (default build/release/examples)
  --work DIR         where the data lies (default build/bench); should be a disk, not memory
  --out DIR          where results.jsonl, summary.jsonl and report.md go (default build/bench)
  --keep             leave the data there
  --strict           exit with 1 when a target is missed
  --list             print the cases

Cases: get-1k get-16k get-64k get-1m cold-1k cold-1m put-1k put-16k put-64k put-1m syncs million
       keep-10k keep-1m
       append-small append-16k append-1m commit ndjson words read-channel streams
Exit code: 0 measured, 1 a case failed (or, with --strict, a target was missed), 2 wrong use.
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
readonly here root
all_cases=(get-1k get-16k get-64k get-1m cold-1k cold-1m put-1k put-16k put-64k put-1m syncs million
    keep-10k keep-1m append-small append-16k append-1m commit ndjson words read-channel streams)

rounds=5 seconds=3 connections=64 quick="" strict="" keep_work="" only='*'
thread_counts=(2 1) coffer_options=()
cofferd=$root/build/release/bin/cofferd
tools=$root/build/release/bench
examples=$root/build/release/examples
work_parent=$root/build/bench
out=$root/build/bench
declare -A without=()

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
# shellcheck source=case_million.sh
source "$here/case_million.sh"
# shellcheck source=case_keep.sh
source "$here/case_keep.sh"
# shellcheck source=case_append.sh
source "$here/case_append.sh"
# shellcheck source=case_dataset.sh
source "$here/case_dataset.sh"

wrong_use() {
    printf 'bench: %s\n' "$1" >&2
    usage >&2
    exit 2
}

options_read() {
    local name value
    while [ $# -gt 0 ]; do
        name=$1
        shift
        case $name in
        --quick) quick=yes rounds=2 seconds=1 && continue ;;
        --strict) strict=yes && continue ;;
        --keep) keep_work=yes && continue ;;
        --list) printf '%s\n' "${all_cases[@]}" && exit 0 ;;
        -h | --help) usage && exit 0 ;;
        --*=*) value=${name#*=} name=${name%%=*} ;;
        --*)
            [ $# -gt 0 ] || wrong_use "$name wants a value"
            value=$1
            shift
            ;;
        *) wrong_use "what is '$name'?" ;;
        esac
        option_set "$name" "$value"
    done
}

option_set() { # NAME VALUE
    case $1 in
    --rounds | --seconds | --connections)
        [[ $2 =~ ^[1-9][0-9]*$ ]] || wrong_use "$1 wants a number, not '$2'"
        printf -v "${1#--}" %s "$2"
        ;;
    --threads)
        [[ $2 =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]] || wrong_use "--threads wants numbers, not '$2'"
        IFS=, read -r -a thread_counts <<<"$2"
        ;;
    --only) only=$2 ;;
    --without)
        [[ $2 =~ ^(nginx|bare|coffer)$ ]] || wrong_use "there is no contestant '$2'"
        without[$2]=yes
        ;;
    --cofferd) cofferd=$2 ;;
    --cofferd-option) coffer_options+=("$2") ;;
    --tools) tools=$2 ;;
    --examples) examples=$2 ;;
    --work) work_parent=$2 ;;
    --out) out=$2 ;;
    *) wrong_use "there is no option $1" ;;
    esac
}

contestant() { # NAME: whether it takes part
    [ -z "${without[$1]-}" ]
}

is_chosen() { # CASE
    local pattern
    local -a patterns
    IFS=, read -r -a patterns <<<"$only"
    for pattern in "${patterns[@]}"; do
        # shellcheck disable=SC2254 # it is meant as a pattern
        case $1 in $pattern) return 0 ;; esac
    done
    return 1
}

requirements_check() {
    local command
    for command in wrk nginx jq curl strace pgrep setpriv; do
        command -v "$command" >/dev/null || [ -x "/usr/sbin/$command" ] ||
            die "no $command: see bench/packages.txt"
    done
    PATH=$PATH:/usr/sbin
    for command in bench_data bench_evict bench_bare_mhd; do
        [ -x "$tools/$command" ] || die "no $tools/$command: ./dev bench builds it"
    done
    ! contestant coffer || [ -x "$cofferd" ] || die "no $cofferd: ./dev build makes it"
    ulimit -n "$(ulimit -Hn)"
}

prepare() {
    mkdir -p "$out" "$work_parent"
    work_parent=$(cd "$work_parent" && pwd)
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    work=$(mktemp -d "$work_parent/work-XXXXXX")
    mkdir -p "$work/nginx" "$work/put"
    results=$out/results.jsonl
    : >"$results"
    case $(stat -f -c %T "$work") in
    tmpfs | ramfs) say "WARNING: $work is memory, so syncs cost nothing here; choose a disk with --work" ;;
    esac
    case_name=start
    ! contestant nginx || nginx_start || exit 1
    ! contestant bare || bare_start || exit 1
}

case_run() { # NAME
    local few=${quick:+1}
    case $1 in
    get-1k) hot_case "$1" 1024 10000 ;;
    get-16k) hot_case "$1" 16384 1000 ;;
    get-64k) hot_case "$1" 65536 500 ;;
    get-1m) hot_case "$1" 1048576 100 ;;
    cold-1k) cold_case "$1" 1024 $((few ? 20000 : 200000)) ;;
    cold-1m) cold_case "$1" 1048576 $((few ? 200 : 2000)) ;;
    put-1k) put_case "$1" 1024 ;;
    put-16k) put_case "$1" 16384 ;;
    put-64k) put_case "$1" 65536 ;;
    put-1m) put_case "$1" 1048576 ;;
    syncs) syncs_case "$1" ;;
    million) million_case "$1" $((few ? 100000 : 1000000)) ;;
    keep-10k) keep_case "$1" 10000 1024 ;;
    keep-1m) keep_case "$1" $((few ? 100000 : 1000000)) 100 ;;
    append-small) append_case "$1" 10 1024 plain-1 plain-64 ;;
    append-16k) append_case "$1" 16384 16384 {plain,staged}-{1,2,4,8,16} ;;
    append-1m) append_case "$1" 1048576 1048576 {plain,staged}-{1,2,4,8,16} ;;
    commit) commit_case "$1" 1 16 ;;
    ndjson) ndjson_case "$1" 1000000 ;;
    words) words_case "$1" $((few ? 100000 : 1000000)) 1 2 4 10 ;;
    read-channel) stream_case "$1" 8 ;;
    streams) streams_case "$1" $((few ? 50000 : 1000000)) 1000 1000 ;;
    esac
}

about() {
    local version="-"
    ! contestant coffer || version=$("$cofferd" --version 2>/dev/null | head -n 1)
    cat <<TEXT
# Benchmark

$(date -u '+%Y-%m-%d %H:%M UTC'); $rounds interleaved rounds of $seconds s, $connections connections, loopback${quick:+; QUICK: small sets, no figures to quote}.
$(nproc) processors ($(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)), Linux $(uname -r), $(df --output=fstype,source "$work" | tail -n 1 | tr -s " "); load before $load_before, after $(cut -d' ' -f1-3 /proc/loadavg).
$(nginx -v 2>&1 | sed 's/^nginx version: //'); wrk $(wrk -v 2>&1 | sed -n 's/^wrk \([^ ]*\).*/\1/p'); cofferd ${version:--}; cold by $(cold_method).

The load generator runs on the same processors: only the ratios mean anything. nginx dav neither
hashes what it stores nor syncs it, so "synced" is compared with a rival that promises nothing.
TEXT
}

report() {
    local text
    text=$(about)
    jq -rs --slurpfile rows "$here/rows.json" --arg about "$text" --argjson summary false \
        '$rows[0] as $rows | '"$(cat "$here/report.jq")" "$results" | tee "$out/report.md"
    jq -cs --slurpfile rows "$here/rows.json" --arg about "" --argjson summary true \
        '$rows[0] as $rows | '"$(cat "$here/report.jq")" "$results" >"$out/summary.jsonl"
    say "written to $out: report.md, summary.jsonl, results.jsonl"
}

main() {
    local name status=0 chosen=0 load_before
    options_read "$@"
    requirements_check
    load_before=$(cut -d' ' -f1-3 /proc/loadavg)
    prepare
    for name in "${all_cases[@]}"; do
        is_chosen "$name" || continue
        chosen=$((chosen + 1))
        case_run "$name" || say "$name: FAILED"
    done
    [ "$chosen" -gt 0 ] || wrong_use "no case is called '$only'"
    report
    ! grep -q '"kind":"failure"' "$results" || status=1
    [ -z "$strict" ] || ! grep -q '"verdict":"MISSED"' "$out/summary.jsonl" || status=1
    return "$status"
}

main "$@"
