# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with the other parts
# Reads: hot (everything in memory) and cold (a server just started, caches dropped).
# Sourced by run.sh.

get_keys="" get_order=loop get_size=0

get_request() { # WHO PATH
    request=(BENCH_PATH="$2" BENCH_KEYS="$get_keys" BENCH_ORDER="$get_order")
}

hot_request() { get_request "$@"; }
hot_before() { :; }
hot_settle() { settle_disk; }
hot_after() { extra=$(jq -nc --argjson n "$get_size" '{size: $n}'); }

hot_case() { # NAME SIZE COUNT
    local size=$2 count=$3 set=hot-$2 who
    case_name=$1 case_script=get.lua case_hooks=hot case_who=() get_order=loop get_size=$2
    get_keys=$work/keys-$set
    keys_write "$size" "$count" "$size" "$get_keys"
    if contestant nginx; then
        nginx_fill "$size" "$count" "$size" "$set" || return 1
        variants[nginx]=""
        for who in nginx nginx_reuse; do
            variants[nginx]+="sendfile${who#nginx} $who /sendfile/$set/{ab}/{key}"$'\n'
            variants[nginx]+="copy${who#nginx} $who /copy/$set/{ab}/{key}"$'\n'
        done
        variants[nginx]=${variants[nginx]%$'\n'}
        verify_reads nginx "http://${address[nginx]}/sendfile/$set/{ab}/{key}" "$get_keys" || return 1
        case_who+=(nginx)
    fi
    if contestant bare; then
        variants[bare]="memory bare /$size/{key}"
        case_who+=(bare)
    fi
    if contestant coffer; then
        coffer_use "$work/coffer-hot" || return 1
        coffer_fill "$size" 0 "$count" "$size" || return 1
        variants[coffer]="chunk coffer /v1/chunks/{key}"
        verify_reads coffer "http://${address[coffer]}/v1/chunks/{key}" "$get_keys" || return 1
        case_who+=(coffer)
    fi
    measure
}

# --- cold ----------------------------------------------------------------------------------

cold_request() { # WHO PATH
    get_request "$@"
}

cold_before() { # WHO
    case $1 in
    nginx)
        end_child nginx
        nginx_start
        ;;
    coffer)
        coffer_stop && coffer_start "$work/coffer-cold"
        ;;
    esac
}

cold_settle() { drop_caches; }
cold_after() { hot_after; }

cold_case() { # NAME SIZE COUNT
    local size=$2 count=$3 set=cold-$2
    case_name=$1 case_script=get.lua case_hooks=cold case_who=() get_order=once get_size=$2
    get_keys=$work/keys-$set
    enough_space $((count * (size + 4096) * 2)) || return 1
    # Another seed than the hot set of that size.
    keys_write $((size + 1)) "$count" "$size" "$get_keys"
    if contestant nginx; then
        nginx_fill $((size + 1)) "$count" "$size" "$set" || return 1
        variants[nginx]="sendfile nginx /sendfile/$set/{ab}/{key}"$'\n'
        variants[nginx]+="threads nginx /threads/$set/{ab}/{key}"
        case_who+=(nginx)
    fi
    if contestant coffer; then
        coffer_use "$work/coffer-cold" || return 1
        coffer_fill $((size + 1)) 0 "$count" "$size" || return 1
        variants[coffer]="chunk coffer /v1/chunks/{key}"
        case_who+=(coffer)
    fi
    measure
}
