# shellcheck shell=bash
# cli_suite.sh - what the suites of the command line have in common; to be sourced.
#
#     suite chunks                # a folder of its own, which goes away with what was started
#     start_server --pack-size 8MiB
#     run 0 put file              # coffer put file, which must end with 0: its $out and $err
#     has "$err" 'no such chunk'
set -euo pipefail

: "${COFFERD:?names the binary of the server}" "${COFFER:?names the binary of the client}"
server=
log_reader=
helpers=() # other processes that end with the suite

suite() { # NAME
    suite=$1
    folder=$(mktemp -d "${TMPDIR:-/tmp}/coffer-cli-XXXXXX")
    trap finish EXIT
    cd "$folder"
    unset COFFER_KEY COFFER_KEYS_FILE
    export COFFER_URL=unix:$folder/socket
}

stop_server() {
    [ -n "$server" ] || return 0
    kill -TERM "$server"
    wait "$server" || return 1
    wait "$log_reader"
    server=
}

finish() {
    local code=$?
    stop_server || code=1
    [ "${#helpers[@]}" -eq 0 ] || kill "${helpers[@]}" 2>/dev/null || true
    if [ "$code" -ne 0 ]; then
        echo "---- the last command: ${last-}" && echo "${out-}" | head -c 2000 && echo "${err-}"
        echo "---- cofferd ----" && tail -n 20 "$folder/log"
    fi 2>/dev/null >&2
    cd /
    rm -rf "$folder"
    exit "$code"
}

fail() {
    printf 'cli_%s: %s\n' "$suite" "$*" >&2
    exit 1
}

start_server() { # OPTION...: on the suite's socket, with its data in ./data
    local line ready=
    [ -p stderr ] || mkfifo stderr
    "$COFFERD" --data-dir data --listen "unix:$folder/socket" "$@" 2>stderr &
    server=$!
    exec 3<stderr
    while IFS= read -r -t 60 line <&3; do
        printf '%s\n' "$line" >>log
        case $line in *' ready: listening on '*) ready=yes && break ;; esac
    done
    [ -n "$ready" ] || fail "cofferd did not become ready"
    cat <&3 >>log &
    log_reader=$!
    exec 3<&-
}

run() { # CODE ARGUMENT...: standard input is the caller's; not in a pipe, where $out would be lost
    local wanted=$1 code=0
    shift
    last="coffer $*"
    "$COFFER" "$@" >out.text 2>err.text || code=$?
    out=$(tr -d "\0" <out.text)
    err=$(<err.text)
    [ "$code" -eq "$wanted" ] || fail "coffer $* ends with $code, not $wanted: $err"
}

has() { # TEXT PART
    [[ $1 == *"$2"* ]] || fail "$last: \"$2\" is missing in: $1"
}

is() { # TEXT WANTED
    [ "$1" = "$2" ] || fail "$last: \"$1\" is not \"$2\""
}

json_is() { # FILTER WANTED: of the last output
    is "$(jq -c "$1" <out.text)" "$2"
}

json_lines() { # NUMBER: the last output is so many JSON texts, each a line
    is "$(wc -l <out.text)" "$1"
    is "$(jq -c . <out.text | wc -l)" "$1"
}

key_of() { # FILE
    sha256sum <"$1" | cut -d' ' -f1
}
