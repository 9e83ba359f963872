# net.sh - boards and cables on this machine: network namespaces joined by a bridge, each with a shaped
# link. To be sourced by a test in bash that runs as root; net_available says why it cannot be had.
#
#   net_up 2 100mbit      namespaces $net-0 and $net-1 with addresses 10.213.N.1 and .2, 100 Mbit/s
#                         each way; 10.213.N.254 is this machine, the coordinator's side of the cable
#   net_run 1 COMMAND     runs it on board 1
#   net_pull 1            pulls board 1's cable; net_plug 1 plugs it in again
#
# Names carry the process id. All goes at net_down, and by a watcher of its own when the shell is
# killed. The bucket of a link (tbf) is two packets deep, so that what is measured is its rate: a deep
# one lets the first 64 KiB after a pause through at once. The interfaces are told not to join
# packets, for a joined one would not fit into the bucket.
# shellcheck shell=bash

net=orrery$$
net_count=0
net_number=$((RANDOM % 250 + 1))

# Prints why namespaces cannot be had here, nothing when they can.
net_available() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "network namespaces need root"
    elif ! command -v ip > /dev/null || ! command -v tc > /dev/null; then
        echo "iproute2 is not installed"
    elif ! ip netns add "$net-probe" 2> /dev/null; then
        echo "this machine allows no network namespaces"
    else
        ip netns del "$net-probe"
        if ! ip link add "${net}b" type bridge 2> /dev/null; then
            echo "this kernel has no bridges"
        elif ! tc qdisc add dev "${net}b" root tbf rate 1mbit burst 3200 latency 10ms 2> /dev/null; then
            echo "this kernel cannot shape links (tbf)"
        fi
        ip link del "${net}b" 2> /dev/null
    fi
}

net_address() { # BOARD
    echo "10.213.$net_number.$(($1 + 1))"
}

net_host() {
    echo "10.213.$net_number.254"
}

net_clear() { # PREFIX COUNT: whatever is there of it
    local board
    for ((board = 0; board < $2; board++)); do
        ip link del "$1v$board" 2> /dev/null
        ip netns del "$1-$board" 2> /dev/null
    done
    ip link del "$1b" 2> /dev/null
    return 0
}

net_shape() { # RATE DEVICE [NAMESPACE]
    # the queue is deep: a lost packet would be TCP's retransmission, not the rate
    tc ${3:+-n "$3"} qdisc replace dev "$2" root tbf rate "$1" burst 3200 limit 8mb &&
        ip ${3:+-n "$3"} link set dev "$2" gso_max_segs 1 gso_max_size 1514
}

net_up() { # BOARDS RATE
    local board outside
    net_count=$1
    # outlives a kill -9 of this shell; a zombie has no exe any more
    (
        trap '' INT TERM HUP
        while readlink /proc/$$/exe; do
            sleep 0.3
        done
        net_clear "$net" "$1"
    ) < /dev/null > /dev/null 2>&1 &
    disown
    ip link add "${net}b" type bridge && ip link set "${net}b" up &&
        ip addr add "$(net_host)/24" dev "${net}b" || return 1
    for ((board = 0; board < net_count; board++)); do
        outside=${net}v$board
        ip netns add "$net-$board" &&
            ip link add "$outside" type veth peer name eth0 netns "$net-$board" &&
            ip link set "$outside" master "${net}b" up &&
            ip -n "$net-$board" addr add "$(net_address "$board")/24" dev eth0 &&
            ip -n "$net-$board" link set eth0 up && ip -n "$net-$board" link set lo up &&
            net_shape "$2" eth0 "$net-$board" && net_shape "$2" "$outside" || return 1
    done
}

net_down() {
    net_clear "$net" "$net_count"
}

net_run() { # BOARD COMMAND...
    local board=$1
    shift
    ip netns exec "$net-$board" "$@"
}

net_pull() { # BOARD
    ip -n "$net-$1" link set eth0 down
}

net_plug() { # BOARD
    ip -n "$net-$1" link set eth0 up
}
