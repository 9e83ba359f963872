#!/bin/bash
# What planners may not answer: times that simulated time does not hold, though sums of them stop short of it.
. "$(dirname "$0")/lib.sh"
need orrery-sim

data=$root/tests/golden/data
cd "$tmp" || exit 2
mkdir cluster slow far
printf 'device,type\na,board\nb,board\n' | tee cluster/devices.csv > far/devices.csv
printf 'device,type,speed_ratio\na,board,1e-6\nb,board,1e-6\n' > slow/devices.csv
printf 'medium,kind,node,bits_per_s,latency_s\nlan,switch,*,1e9,1e6\n' > far/links.csv
made() { # FOLDER NS: the costs of the board, where every call of an operator takes so long
    mkdir -p "$1/board"
    awk -F, -v OFS=, -v ns="$2" '/^#/ || $1 == "kernel" { print; next } { $NF = ns; print }' \
        "$data/costs/board/kernels.csv" > "$1/board/kernels.csv"
}
made weeks 900000000000000
made seconds 9000000000

ends() { # ALGORITHM CLUSTER COSTS: no answer, and the reason is time
    exit_is 1 "$1 answers nothing: $2, $3" orrery-sim place --service s=gpt2-4l --cluster "$2" --costs "$3" \
        --prompt 16 --output 8 --algorithm "$1" -o p.csv
    like "$1 says why: $2, $3" "$out$err" "simulated time|106 days"
}
for algorithm in single even greedy round-robin pipeedge auction edgeshard exact static resource-aware exact-heads orrery; do
    ends $algorithm slow seconds/board
    ends $algorithm cluster weeks/board
done
ends even far "$data/costs/board"
done_testing
