# fixed.sh - fixed batches of the same files in orrery-run and orrery-sim: who leaves with whom, and every message,
# must agree; times need not, but devices are so slow that no decision hangs on them.
# shellcheck shell=bash
# After lib.sh, tiny.sh and twins.sh, in the test's own folder. The caller's: pads, the --pad options of devices other than d0.

head='request_id,arrival_s,service,prompt_tokens,output_tokens'
next=0
load() { # SERVICE FIRST_MS EVERY_MS COUNT
    local i at
    for ((i = 0; i < $4; i++)); do
        at=$(($2 + $3 * i))
        echo "$((next++)),$((at / 1000)).$(printf %03d $((at % 1000))),$1,$((8 + 7 * i % 30)),$((1 + 3 * i % 4))"
    done
}

# Who sends the next request at the instant at which a batch ends is in the next one, however the messages travel.
closed_load() {
    local i
    echo "$head,client,think_s"
    for i in {0..4}; do printf '%s,0.%03d,chat,16,3,c%s,0\n' "$i" $((50 + 13 * i)) "$i"; done
    for i in {5..19}; do echo "$i,,chat,16,3,c$((i % 5)),0"; done
}

# A step of the whole model takes 0.94 ms, 188 ms on these boards.
slow_cluster() { # DEVICE...
    mkdir -p cluster
    printf '%s\n' device,type,speed_ratio "${@/%/,pc,0.005}" > cluster/devices.csv
    printf 'medium,kind,node,bits_per_s,latency_s\nlan,switch,*,1e9,0.0001\n' > cluster/links.csv
}

pads=()
run() { timeout 30 orrery-run --models models.csv --cluster cluster --local "$@"; }
same() { # PLACEMENT LOAD OPTION...
    orrery-sim run --models models.csv --cluster cluster --costs costs -p "$1" -w "$2" "${@:3}" --requests-out sim-r.csv \
        --stages-out sim-s.csv --transfers-out sim-t.csv > sim.out 2>&1 || return 1
    soon_alike run -p "$1" -w "$2" "${@:3}" --costs costs --pad d0=200 "${pads[@]}"
}
# Of the batches, as d0 has had them.
sizes() { body "$1" | awk -F, '$4 == 0 && $5 == "d0" && $8 == 0 { n[$9]++ } END { for (b in n) print n[b] }' | sort -n | xargs; }
