# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with the other parts
# Children, free ports, waiting and cleaning up. Sourced by run.sh.

declare -A child=()     # name: process id
declare -A signal_to=() # name: the process to signal, where it is not the child itself

say() {
    printf 'bench: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# Run COMMAND in the background; its output goes to $work/NAME.out and NAME.log. It gets SIGTERM
# should this script die without a chance to clean up.
spawn() { # NAME COMMAND...
    local name=$1
    shift
    : >"$work/$name.log" # now, lest await_line find what an earlier one of that name said
    setpriv --pdeathsig TERM "$@" </dev/null >"$work/$name.out" 2>>"$work/$name.log" &
    child[$name]=$!
}

is_running() { # NAME
    [ -n "${child[$1]-}" ] && kill -0 "${child[$1]}" 2>/dev/null
}

# End a child and wait for it; true when it ended as told, or was not there.
end_child() { # NAME [SIGNAL]
    local pid=${child[$1]-} status=0
    [ -n "$pid" ] || return 0
    kill -"${2:-TERM}" "${signal_to[$1]:-$pid}" 2>/dev/null
    unset "child[$1]" "signal_to[$1]"
    wait "$pid" 2>/dev/null || status=$?
    [ "${2-}" = KILL ] || [ "$status" -eq 0 ]
}

# Wait until the log of a child has a line that matches, and print the line.
await_line() { # NAME EXPRESSION SECONDS
    local deadline=$((SECONDS + $3))
    until grep -m 1 -E -- "$2" "$work/$1.log"; do
        if ! is_running "$1" || [ "$SECONDS" -ge "$deadline" ]; then
            say "$1 did not say '$2'; its last lines:"
            tail -n 5 "$work/$1.log" >&2
            return 1
        fi
        sleep 0.005
    done
}

processor_ticks() { # PID: its user and system time so far, in 1/CLK_TCK seconds
    awk '{ print $14 + $15 }' "/proc/$1/stat"
}

port_is_free() { # PORT: nothing of IPv4 uses it
    ! grep -qi "^ *[0-9]*: [0-9A-F]*:$(printf '%04X' "$1") " /proc/net/tcp
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000)) # below the range that outgoing connections use
        port_is_free "$port" && break
    done
    echo "$port"
}

clean_up() {
    local name
    trap '' INT TERM
    for name in "${!child[@]}"; do
        end_child "$name" || true
    done
    [ -z "${work-}" ] || [ -n "${keep_work-}" ] || rm -rf -- "$work"
}
