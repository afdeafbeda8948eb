# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with the other parts
# The servers that are compared, and how each gets its content. Sourced by run.sh.
#
# Every contestant is known by a name: nginx, bare, coffer (in the write cases synced and
# buffered, which are the same coffer). Where each listens is in ${address[NAME]}.

declare -A address=()

# --- nginx ---------------------------------------------------------------------------------

nginx_start() {
    local files try user=""
    files=$(ulimit -n)
    [ "$files" -le 65536 ] || files=65536
    [ "$(id -u)" -ne 0 ] || user="user root;" # its workers must read what this script wrote
    for try in 1 2 3 4 5; do
        address[nginx]=127.0.0.1:$(free_port)
        address[nginx_reuse]=127.0.0.1:$(free_port)
        sed -e "s|@WORK@|$work|g" -e "s|@USER@|$user|" -e "s|@FILES@|$files|" \
            -e "s|@OPEN_FILES@|$((files * 3 / 4))|" -e "s|@PROCESSORS@|$(nproc)|" \
            -e "s|@PORT@|${address[nginx]#*:}|" -e "s|@PORT_REUSE@|${address[nginx_reuse]#*:}|" \
            "$here/nginx.conf.in" >"$work/nginx.conf"
        spawn nginx nginx -p "$work" -c "$work/nginx.conf"
        if await_answer nginx "http://${address[nginx]}/" 2>/dev/null; then
            return
        fi
        end_child nginx || true
        say "nginx did not start on ${address[nginx]} (try $try): $(tail -n 1 "$work/nginx.log")"
    done
    fault nginx "it does not start"
}

# Any HTTP answer will do; only for servers that do not say when they are ready.
await_answer() { # NAME URL
    local deadline=$((SECONDS + 5))
    until curl -s -o "$work/answer" "$2"; do
        is_running "$1" && [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.02
    done
    is_running "$1"
}

# --- bare libmicrohttpd --------------------------------------------------------------------

bare_start() {
    local line
    spawn bare "$tools/bench_bare_mhd"
    line=$(await_line bare 'ready 127' 5) || fault bare "it does not start" || return 1
    address[bare]=${line##* }
}

# --- coffer --------------------------------------------------------------------------------

coffer_folder="" coffer_start_seconds=""

micros_to_seconds() { # MICROSECONDS
    printf '%d.%03d' $(($1 / 1000000)) $(($1 % 1000000 / 1000))
}

# Seconds from exec to the line that says "ready" go to $coffer_start_seconds.
coffer_start() { # FOLDER [COMMAND BEFORE cofferd...]
    local line before
    coffer_folder=$1
    shift
    before=${EPOCHREALTIME/[.,]/}
    spawn coffer "$@" "$cofferd" --data-dir "$coffer_folder" --listen 127.0.0.1:0 \
        "${coffer_options[@]}"
    line=$(await_line coffer '\bready\b' 120) || fault coffer "cofferd does not start" || return 1
    [ $# -eq 0 ] || signal_to[coffer]=$(pgrep -P "${child[coffer]}")
    coffer_start_seconds=$(micros_to_seconds $((${EPOCHREALTIME/[.,]/} - before)))
    address[coffer]=$(grep -oE '127\.0\.0\.1:[0-9]+' <<<"$line" | head -n 1)
    [ -n "${address[coffer]}" ] || fault coffer "the ready line names no address: $line"
}

coffer_stop() {
    coffer_folder=""
    end_child coffer ||
        fault coffer "it did not end with 0 after SIGTERM: $(tail -n 3 "$work/coffer.log")"
}

# Have it running on this folder, and on no other.
coffer_use() { # FOLDER
    if is_running coffer && [ "$coffer_folder" = "$1" ]; then
        return
    fi
    coffer_stop || return 1
    coffer_start "$1"
}

coffer_drop() { # FOLDER
    coffer_stop || true
    rm -rf -- "$1"
}

# The process itself, also when a strace of ours runs it (which passes no signal on).
coffer_pid() {
    echo "${signal_to[coffer]:-${child[coffer]}}"
}

coffer_sync() {
    curl -sS -f -o "$work/answer" -H 'Content-Type: application/json' -d '{}' \
        "http://${address[coffer]}/v1/sync" || fault coffer "POST /v1/sync failed"
}

coffer_number() { # FIELD of /v1/status
    curl -sS -f "http://${address[coffer]}/v1/status" | jq -e ".$1 | numbers" ||
        fault coffer "/v1/status has no $1"
}

# --- content -------------------------------------------------------------------------------

# Store bodies FIRST to FIRST + COUNT of a set through tar batches of at most 60 MiB.
coffer_fill() { # SEED FIRST COUNT SIZE
    local seed=$1 first=$2 left=$3 size=$4 batch count created
    batch=$((60 * 1048576 / (size + 1024)))
    [ "$batch" -ge 1 ] || batch=1
    while [ "$left" -gt 0 ]; do
        count=$((left < batch ? left : batch))
        "$tools/bench_data" tar "$seed" "$first" "$count" "$size" |
            curl -sS -f -X POST -H 'Content-Type: application/x-tar' -H 'Expect:' -T - \
                -o "$work/inserted" "http://${address[coffer]}/v1/chunks/insert" ||
            fault coffer "POST /v1/chunks/insert failed" || return 1
        created=$(grep -cE '"created": *true' "$work/inserted" || true)
        [ "$created" -eq "$count" ] ||
            fault coffer "insert created $created of $count: $(grep -vE '"created": *true' "$work/inserted" | head -n 1)" ||
            return 1
        first=$((first + count)) left=$((left - count))
    done
}

# The names of a set in random order: that is the order of reading.
keys_write() { # SEED COUNT SIZE FILE
    "$tools/bench_data" keys "$1" 0 "$2" "$3" | shuf >"$4"
}

nginx_fill() { # SEED COUNT SIZE FOLDER
    mkdir -p "$work/nginx/$4"
    "$tools/bench_data" files "$1" 0 "$2" "$3" "$work/nginx/$4" ||
        fault nginx "cannot write $work/nginx/$4"
}

# Three names of the set, read back and hashed: a fast wrong answer must not win.
verify_reads() { # WHO URL KEYS; {ab} and {key} in URL as in get.lua
    local who=$1 key url got
    while read -r key; do
        url=${2//\{ab\}/${key:0:2}}
        url=${url//\{key\}/$key}
        got=$(curl -sS -f "$url" | sha256sum)
        [ "${got%% *}" = "$key" ] ||
            fault "$who" "$url does not answer with the bytes of that name" || return 1
    done < <(head -n 3 "$3")
}

# --- the disk ------------------------------------------------------------------------------

# Start each timed run with nothing left to write from the runs before it.
settle_disk() {
    sync -f "$work"
}

cold_method() {
    if [ -w /proc/sys/vm/drop_caches ]; then
        echo "drop_caches"
    else
        echo "posix_fadvise (names and inodes stay cached)"
    fi
}

drop_caches() {
    settle_disk
    if [ -w /proc/sys/vm/drop_caches ]; then
        echo 3 >/proc/sys/vm/drop_caches
    else
        "$tools/bench_evict" "$work"
    fi
}

enough_space() { # BYTES
    local free
    free=$(df -B 1 --output=avail "$work" | tail -n 1)
    [ "$free" -ge "$1" ] ||
        fault disk "$((free >> 20)) MiB free under $work, $(($1 >> 20)) MiB needed"
}
