# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with the other parts
# Writes: every request has a new body, and for nginx a new name. Sourced by run.sh.
#
# coffer computes the SHA-256 of each body (POST /v1/chunks) and says after it that the body is on
# disk (synced) or that it will be (buffered); nginx dav hashes nothing and never syncs.

put_serial=0 put_size=0 put_folder="" put_chunks=0 put_syncs=0

put_request() { # WHO PATH
    put_serial=$((put_serial + 1))
    request=(BENCH_BODY="$work/body-$put_size" BENCH_METHOD=PUT BENCH_PATH="${2//\{round\}/$put_folder}"
        BENCH_SEED="$(printf '%08x%04x' "$EPOCHSECONDS" $((put_serial % 65536)))")
    case $1 in
    synced | buffered)
        request+=(BENCH_METHOD=POST BENCH_HEADERS="Coffer-Durability: $1"$'\r\n')
        ;;
    esac
}

put_before() { # WHO
    enough_space $((4 << 30)) || return 1
    case $1 in
    nginx)
        # A new folder for each run, made beforehand with all its 256 folders.
        put_folder=$case_name-$((put_serial + 1))
        mkdir -p "$work/put/$put_folder"/{{0..9},{a..f}}{{0..9},{a..f}}
        ;;
    synced | buffered)
        coffer_sync || return 1
        put_chunks=$(coffer_number chunks) || return 1
        put_syncs=$(coffer_number syncs) || return 1
        ;;
    esac
}

put_settle() { settle_disk; }

# What was acknowledged must be there: a write that hits what is there already is no write.
put_after() { # WHO
    local answered stored syncs
    extra=$(jq -nc --argjson n "$put_size" '{size: $n}')
    answered=$(jq .requests <<<"$load_result")
    case $1 in
    nginx)
        stored=$(find "$work/put/$put_folder" -type f -size +0 | wc -l)
        ;;
    synced | buffered)
        syncs=$(coffer_number syncs) || return 1
        coffer_sync || return 1
        stored=$(coffer_number chunks) || return 1
        stored=$((stored - put_chunks))
        extra=$(jq -c --argjson n $((syncs - put_syncs)) '.syncs = $n' <<<"$extra")
        ;;
    *) return 0 ;;
    esac
    [ "$stored" -ge "$answered" ] || fault "$1" "$answered writes acknowledged, $stored stored"
}

put_case() { # NAME SIZE
    case_name=$1 put_size=$2 case_script=put.lua case_hooks=put case_who=()
    head -c "$put_size" /dev/urandom >"$work/body-$put_size"
    if contestant nginx; then
        variants[nginx]="dav nginx /put/{round}/{ab}/{name}"$'\n'
        variants[nginx]+="dav_reuse nginx_reuse /put/{round}/{ab}/{name}"
        case_who+=(nginx)
    fi
    if contestant bare; then
        variants[bare]="drop bare /{name}"
        case_who+=(bare)
    fi
    if contestant coffer; then
        coffer_use "$work/coffer-$case_name" || return 1
        variants[synced]="chunk coffer /v1/chunks"
        variants[buffered]=${variants[synced]}
        case_who+=(synced buffered)
    fi
    measure
    put_clean_up
}

# Files are emptied here and removed at the very end: ext4 without a journal does not use an inode
# again for some seconds after its file is removed, and looks for another one slowly meanwhile, so
# that removing a hundred thousand files here would slow nginx down in the next case.
put_clean_up() {
    coffer_drop "$work/coffer-$case_name"
    [ ! -d "$work/put" ] || find "$work/put" -type f -size +4k -exec truncate -s 0 {} +
}
