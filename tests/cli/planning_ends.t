#!/bin/bash
# Where planners end: times that simulated time does not hold, though sums of them stop short of it, and memory
# that is just enough.
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

# ---- a board that holds two services to the byte is offered to the planner, and is enough
mkdir one
load=(--process poisson --requests 20 --prompt constant:16 --output constant:2)
two=(--service a=gpt2-4l --service b=gpt2-4l --cluster one --costs "$data/costs/board" --slo 10s --algorithm alpaserve --json)
orrery-sim generate "${load[@]}" --rate 1/s --service a --service b -o w.csv > /dev/null
memory() { # BYTES: of the board
    printf 'device,type,memory_bytes\na,board,%s\n' "$1" > one/devices.csv
}
memory 4000000000
orrery-sim place "${two[@]}" --workload w.csv -o p.csv > answer.json
room=$(sed -n 's/^ *"room_bytes": \([0-9]*\),*$/\1/p' answer.json | head -n 1)
memory $((4000000000 - room))
exit_is 0 "memory to the byte is enough for a placement" orrery-sim place "${two[@]}" --workload w.csv -o p.csv
exit_is 0 "and for a board" orrery-sim capacity --boards prefix "${two[@]}" "${load[@]}" --rate 1/s
memory $((4000000000 - room - 1))
exit_is 1 "a byte less is not" orrery-sim place "${two[@]}" --workload w.csv -o p.csv
exit_is 1 "for a board either" orrery-sim capacity --boards prefix "${two[@]}" "${load[@]}" --rate 1/s

# ---- copies of a stage take turns: the period is that of the slowest stage over its copies
mkdir copies
printf '%s\n' device,type {v,w,x,y,z},box > copies/devices.csv
copies() { # NAME DEVICE,STAGE,COPY...: the detector's stages take 20 ms and 30 ms
    local row
    echo service,replica,stage,device,executable,copy > "$1.csv"
    for row in "${@:2}"; do
        IFS=, read -r device stage copy <<< "$row"
        echo "detector,0,$stage,$device,detector,$copy"
    done >> "$1.csv"
}
period_of() { # NAME
    orrery-sim compare --algorithm none --placement "$1.csv" --cluster copies --costs "$data/costs/box" --json |
        sed -n 's/^ *"period_s": \([0-9.]*\),*$/\1/p' | head -n 1
}
copies plain v,0,0 w,1,0
copies two v,0,0 w,1,0 x,1,1
copies all v,0,0 w,0,1 x,1,0 y,1,1 z,1,2
is "without copies" "$(period_of plain)" 0.03
is "two copies of the slower stage" "$(period_of two)" 0.02
is "two copies and three" "$(period_of all)" 0.01
done_testing
