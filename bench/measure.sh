# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with the other parts
# wrk runs, and cases made of interleaved rounds of them. Sourced by run.sh.
#
# A case sets $case_name, $case_script (get.lua or put.lua), its contestants ${case_who[@]}, and
# for each of them ${variants[WHO]}: lines "LABEL ADDRESS PATH" of which the warm-up picks the fastest.
# Its hooks are functions named by $case_hooks: HOOKS_request fills the array `request` with
# NAME=VALUE for the Lua script, HOOKS_before prepares a run outside the timed part, HOOKS_after
# checks it and may put more members (JSON) into $extra. Each gets WHO, and request the path too.
# ${one_each[WHO]} is for scripts that need it a number of connections, each with a wrk thread of its
# own; else the numbers are those of the options. A member "size" of $extra is what one request moves
# in bytes of content.

case_name="" case_script="" case_hooks=""
declare -a case_who=() request=()
declare -A variants=() one_each=() best_variant=() best_threads=()
load_result="" extra=""

# Something of this case went wrong: say so, keep it for the report, and let the caller return.
fault() { # WHO TEXT
    say "$case_name: $1: $2"
    jq -nc --arg case "$case_name" --arg who "$1" --arg text "$2" \
        '{kind: "failure", case: $case, who: $who, text: $text}' >>"$results"
    return 1
}

value_record() { # NAME NUMBER
    jq -nc --arg case "$case_name" --arg name "$1" --argjson number "$2" \
        '{kind: "value", case: $case, name: $name, number: $number}' >>"$results"
}

# One wrk run; its figures as JSON in $load_result. Any answer that is not as expected, any broken
# connection, is a fault: a benchmark of errors is a lie.
load() { # WHO URL THREADS SECONDS
    local who=$1 problem
    env BENCH_DIR="$here" BENCH_THREADS="$3" "${request[@]}" wrk -t "$3" \
        -c "${one_each[$who]:-$connections}" -d "$4" --timeout 30s -s "$here/$case_script" "$2" \
        >"$work/wrk.out" 2>"$work/wrk.err"
    load_result=$(sed -n 's/^BENCH //p' "$work/wrk.out")
    [ -n "$load_result" ] ||
        fault "$who" "wrk gave no figures: $(cat "$work/wrk.err" "$work/wrk.out" | head -n 3 | paste -sd' ')" ||
        return 1
    problem=$(jq -r --arg who "$who" '
        if .requests == 0 then "no request was answered"
        elif .bad_socket > 0 then "\(.bad_socket) connections failed"
        elif $who == "absent" and .bad_status != .requests then
            "\(.requests - .bad_status) of \(.requests) absent names were answered with 2xx"
        elif $who != "absent" and .bad_status > 0 then
            "\(.bad_status) of \(.requests) answers were errors"
        else "" end' <<<"$load_result")
    [ -z "$problem" ] || fault "$who" "$problem"
}

# A run with everything around it.
run_once() { # WHO VARIANT THREADS SECONDS
    local label server path
    read -r label server path <<<"$2"
    "${case_hooks}_before" "$1" || return 1
    "${case_hooks}_request" "$1" "$path"
    extra="{}"
    "${case_hooks}_settle"
    load "$1" "http://${address[$server]}/" "$3" "$4" || return 1
    "${case_hooks}_after" "$1"
}

# The warm-up: one second for each variant, then for each other number of threads, and what was
# fastest is what will be measured.
calibrate() { # WHO
    local who=$1 variant threads rate best=0
    local -a counts=("${thread_counts[@]}")
    [ -z "${one_each[$who]-}" ] || counts=("${one_each[$who]}")
    while read -r variant; do
        run_once "$who" "$variant" "${counts[0]}" 1 || return 1
        rate=$(jq '.rate | floor' <<<"$load_result")
        [ "$rate" -lt "$best" ] || { best=$rate best_variant[$who]=$variant; }
    done <<<"${variants[$who]}"
    best_threads[$who]=${counts[0]}
    for threads in "${counts[@]:1}"; do
        run_once "$who" "${best_variant[$who]}" "$threads" 1 || return 1
        rate=$(jq '.rate | floor' <<<"$load_result")
        [ "$rate" -le "$best" ] || { best=$rate best_threads[$who]=$threads; }
    done
}

round_record() { # WHO ROUND
    jq -nc --arg case "$case_name" --arg who "$1" --argjson round "$2" \
        --arg variant "${best_variant[$1]%% *}" --argjson threads "${best_threads[$1]}" \
        --argjson figures "$load_result" --argjson extra "$extra" '
        {kind: "round", case: $case, who: $who, round: $round, variant: $variant,
         threads: $threads} + $figures + $extra' >>"$results"
}

# All contestants warm up; then A B C A B C ... for the given number of rounds. A contestant that
# fails leaves the case, the others go on.
measure() {
    local who round
    local -A fallen=()
    say "$case_name: warming up"
    for who in "${case_who[@]}"; do
        calibrate "$who" || fallen[$who]=1
    done
    for ((round = 1; round <= rounds; round++)); do
        for who in "${case_who[@]}"; do
            [ -z "${fallen[$who]-}" ] || continue
            if run_once "$who" "${best_variant[$who]}" "${best_threads[$who]}" "$seconds"; then
                round_record "$who" "$round"
                say "$(printf '%s round %d: %-8s %8.0f/s' "$case_name" "$round" "$who" \
                    "$(jq .rate <<<"$load_result")")"
            else
                fallen[$who]=1
            fi
        done
    done
    [ "${#fallen[@]}" -eq 0 ]
}
