# shellcheck shell=bash
# netns.sh - a server and other machines in network namespaces of their own, and a bad network between
# them, for suites that source it. Who wants to know what this kernel gives: net_means.
#
#   netns_enter "$@"         first of all; runs the suite again in namespaces of its own (user, if it is
#                            not root; network, mount, process), which nothing outside sees and which are
#                            gone with the suite, whatever ends it. Where that cannot be: one line, and 77
#   net_server, net_machine NAME   make them; machines reach the server, at $NET_SERVER
#   on NAME COMMAND...       run there; become NAME COMMAND... & does it with $! the command's own
#   net_lose NAME PERCENT    of the packets between that machine and the server, both ways
#   net_slow NAME RATE       that of tc ("4mbit"), both ways, with the delay of a full queue
#   net_cut NAME, net_heal NAME    no packet, no answer, no error; and as before
#   net_reset NAME           reset all connections of the machine to the server, now
#
# Which of these go how is found out at run time: loss by netem or by the statistic match, resets by
# ss -K or by a rule that refuses, in turn where both are to be had.

NET_SERVER=10.77.0.1
NET_MACHINES=() # the number of a machine is its place here, from 1 on
NET_RESETS=0
NET_IPTABLES=

net_skip() { # WHY
    echo "skipped: $*"
    exit 77
}

# What runs in the new namespaces, to see whether they are good for anything.
NET_PROBE='mount -t tmpfs none /run && ip netns add one && ip netns add two &&
    ip link add name left netns one type veth peer name right netns two'

netns_enter() {
    local tool
    local -a flags=(--net --mount --pid --fork --kill-child --mount-proc)
    PATH=$PATH:/usr/sbin:/sbin
    if [ -n "${COFFER_TEST_NETNS-}" ]; then
        mount -t tmpfs none /run # names of namespaces are files there
        return
    fi
    for tool in ip tc ss iptables nsenter unshare; do
        command -v "$tool" >/dev/null || net_skip "no network namespaces without $tool"
    done
    [ "$(id -u)" -eq 0 ] || flags+=(--map-root-user)
    unshare "${flags[@]}" sh -c "$NET_PROBE" 2>/dev/null ||
        net_skip "network namespaces cannot be made here"
    COFFER_TEST_NETNS=1 exec unshare "${flags[@]}" bash "$0" "$@"
}

on() { # NAME COMMAND...
    nsenter "--net=/run/netns/$1" "${@:2}"
}

become() { # NAME COMMAND...
    exec nsenter "--net=/run/netns/$1" "${@:2}"
}

net_server() {
    ip netns add server
    ip -n server link set lo up
    ip -n server address add "$NET_SERVER/32" dev lo
    for NET_IPTABLES in iptables iptables-nft iptables-legacy ''; do
        [ -n "$NET_IPTABLES" ] || break
        net_rule server -m statistic --mode random --probability 0.5 -j ACCEPT 2>/dev/null || continue
        on server "$NET_IPTABLES" -w -F INPUT
        break
    done
}

net_machine() { # NAME
    local number
    NET_MACHINES+=("$1")
    number=${#NET_MACHINES[@]}
    ip netns add "$1"
    ip link add "to-$1" netns server type veth peer name eth0 netns "$1"
    ip -n server address add "10.77.$number.1/24" dev "to-$1"
    ip -n "$1" address add "10.77.$number.2/24" dev eth0
    ip -n server link set "to-$1" up
    ip -n "$1" link set lo up
    ip -n "$1" link set eth0 up
    ip -n "$1" route add "$NET_SERVER/32" via "10.77.$number.1"
}

net_netem() { # NAME ARGUMENT...: false where the kernel has no netem
    on server tc qdisc replace dev "to-$1" root netem "${@:2}" 2>/dev/null &&
        on "$1" tc qdisc replace dev eth0 root netem "${@:2}"
}

net_rule() { # NAMESPACE RULE...: a rule on what comes in there
    [ -n "$NET_IPTABLES" ] && on "$1" "$NET_IPTABLES" -w -I INPUT -p tcp "${@:2}"
}

net_means() {
    local loss='none to be had' resets='ss -K'
    if net_netem "${NET_MACHINES[0]}" delay 1ms; then
        loss=netem
        on server tc qdisc delete dev "to-${NET_MACHINES[0]}" root
        on "${NET_MACHINES[0]}" tc qdisc delete dev eth0 root
    elif [ -n "$NET_IPTABLES" ]; then
        loss="$NET_IPTABLES, statistic"
    fi
    [ -z "$NET_IPTABLES" ] || resets+=" and $NET_IPTABLES, tcp-reset"
    echo "loss: $loss; slow link: tbf; partition: link down; resets: $resets"
}

net_lose() { # NAME PERCENT
    local -a rule=(-m statistic --mode random --probability "$(printf '0.%02d' "$2")" -j DROP)
    net_netem "$1" loss "$2%" delay 2ms 1ms && return
    net_rule server -i "to-$1" "${rule[@]}" && net_rule "$1" -i eth0 "${rule[@]}" && return
    echo "this kernel loses no packets: $1 has a good network"
}

net_slow() { # NAME RATE
    on server tc qdisc replace dev "to-$1" root tbf rate "$2" burst 8kb latency 200ms
    on "$1" tc qdisc replace dev eth0 root tbf rate "$2" burst 8kb latency 200ms
}

net_cut() { # NAME
    ip -n server link set "to-$1" down
}

net_heal() { # NAME
    ip -n server link set "to-$1" up
}

# Refuse what the server sends until something was refused: it is told that the connection is gone,
# and so is the machine when it sends next.
net_refuse() { # NAME
    local -a rule=(-i eth0 -j REJECT --reject-with tcp-reset)
    net_rule "$1" "${rule[@]}" || return
    for _ in $(seq 500); do
        on "$1" "$NET_IPTABLES" -w -nvxL INPUT 1 | grep -q '^ *0 ' || break
        sleep 0.01 # poll: a packet that comes in
    done
    on "$1" "$NET_IPTABLES" -w -D INPUT -p tcp "${rule[@]}"
}

net_reset() { # NAME
    NET_RESETS=$((NET_RESETS + 1))
    if [ $((NET_RESETS % 2)) -eq 0 ] && net_refuse "$1"; then
        return
    fi
    # Prints what it has reset; nothing where the kernel cannot.
    [ -n "$(on "$1" ss -K -H -t dst "$NET_SERVER")" ] || net_refuse "$1" ||
        echo "no connection of $1 was reset"
}
