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

# ---- what fits with one cache each does not with four: then each board takes a service, not none
printf 'device,type,memory_bytes\na,board,%s\nb,board,%s\n' $((4000000000 - room)) $((4000000000 - room)) > one/devices.csv
{ # most requests are of one service: it would like to stand on both boards
    echo request_id,arrival_s,service,prompt_tokens,output_tokens
    for ((i = 0; i < 60; i++)); do
        echo "$i,0,$([ $((i % 6)) = 5 ] && echo b || echo a),16,8"
    done
} > flood.csv
exit_is 0 "alpaserve counts --sequences while it searches" orrery-sim place "${two[@]}" --slo 400ms --workload flood.csv \
    --sequences 4 -o p.csv
is "and puts a service on each board" "$(awk -F, '/^[ab],/ { print $4 }' p.csv | sort -u | tr '\n' ' ')$(
    awk -F, '/^[ab],/ { print $1, $4 }' p.csv | sort -u | wc -l)" "a b 2"

# ---- boards that the source has no route to are left out, by name
mkdir island cut
for board in a b c d; do echo "$board,board"; done | sed '1i device,type' > island/devices.csv
cat > island/links.csv << 'END'
medium,kind,node,bits_per_s,latency_s
lan,switch,source,1e9,0.001
lan,switch,a,1e9,0.001
yard,switch,a,1e9,0.001
yard,switch,c,1e9,0.001
shed,switch,b,1e9,0.001
END
printf 'time_s,target,event,value\n1,d,down,\n1,c,down,\n2,c,up,\n' > island.csv
orrery-sim generate "${load[@]}" --rate 1/s --service a -o w1.csv > /dev/null
for algorithm in exact even alpaserve dynamic orrery; do
    exit_is 0 "$algorithm goes on without them" orrery-sim place --service a=gpt2-4l --cluster island --costs "$data/costs/board" \
        --algorithm $algorithm --workload w1.csv --slo 10s --objective goodput --events island.csv --simulations 20 -o p.csv
    like "$algorithm: a warning names them" "$err" "warning: left out, as no route joins them to the source: 'b', 'd'\$"
    ok "$algorithm places nothing there" test -z "$(grep -E ',(b|d),' p.csv)"
done
exit_is 0 "compare goes on, too" orrery-sim compare --service a=gpt2-4l --cluster island --costs "$data/costs/board" --algorithm exact,single
like "and says so" "$err" "left out.*'b', 'd'"
printf '%s\n' service,replica,stage,device,model a,0,0,d,gpt2-4l > stranded.csv
exit_is 2 "a placement that stands on one of them cannot be compared" orrery-sim compare --service a=gpt2-4l --placement stranded.csv \
    --cluster island --costs "$data/costs/board" --algorithm exact
like "and the reason is not that there is no such device" "$err" \
    "stranded.csv:2:4: device is 'd': no route joins it to the source in island/links.csv"
exit_is 0 "as does capacity" orrery-sim capacity --boards kinds "${load[@]}" --rate 0.1/s --slo 10s --service a=gpt2-4l \
    --cluster island --costs "$data/costs/board"
like "which says so" "$err" "left out.*'b', 'd'"
cp island/devices.csv cut
grep -v '^lan\|^yard' island/links.csv > cut/links.csv
echo 'lan,switch,source,1e9,0.001' >> cut/links.csv
exit_is 2 "no board at all is an error" orrery-sim place --service a=gpt2-4l --cluster cut --costs "$data/costs/board" -o p.csv
like "that says why" "$err" "cut/links.csv: no route joins any device to the source"

# ---- time: a simulation that is under way is given up, and Ctrl-C gives the best so far
orrery-sim generate --process poisson --rate 20/s --requests 20000 --service a --prompt constant:16 --output constant:8 \
    -o long.csv > /dev/null
search=(--service a=gpt2-4l --cluster cluster --costs "$data/costs/board" --workload long.csv --slo 1s --simulations 1000000000)
interrupted() { # COMMAND OPTION...: its first line tells that it searches; exit status into $status
    local pid
    orrery-sim "$@" "${search[@]}" > int.out 2> int.err &
    pid=$!
    for ((turn = 0; turn < 100; turn++)); do # until it takes the signal
        grep -q '^SigCgt:.*[2367abef]$' /proc/$pid/status 2> /dev/null && break
        sleep 0.1
    done
    sleep 0.3
    kill -INT $pid
    wait $pid
    status=$?
}
set -m # jobs of a script have Ctrl-C ignored without it
rm -f p.csv
interrupted place --algorithm orrery -o p.csv
is "Ctrl-C: its own exit status" "$status" 130
like "a line says so" "$(cat int.err)" 'orrery-sim place: interrupted: the best placement so far is written'
like "and the report" "$(cat int.out)" 'stopped +by Ctrl-C: this is the best so far'
exit_is 0 "what is written is a placement" orrery-sim run --placement p.csv --cluster cluster --costs "$data/costs/board" --workload w1.csv
interrupted compare --algorithm orrery,exact --csv table.csv
is "compare, too" "$status" 130
like "tells of whom it had no time to ask" "$(cat int.out)" 'not asked: Ctrl-C ended the comparison before'
like "and of the one that was at work" "$(grep '^orrery,' table.csv)" ',yes,'
set +m
for algorithm in alpaserve dynamic resource-aware orrery; do
    exit_is 0 "$algorithm ends in time" orrery-sim place "${search[@]}" --algorithm $algorithm --time-limit 50ms -o p.csv
done

# ---- and so are dynamic programs over many kinds of devices, which would take seconds
mkdir -p many wide/box
awk 'BEGIN { print "device,type,speed_ratio,memory_bytes"
    for (i = 0; i < 64; i++) printf "d%d,box,%.3f,%d\n", i, 0.3 + 0.011 * i, 1000000000 + i * 10000000 }' > many/devices.csv
awk 'BEGIN { print "executable,stage,latency_s,weight_bytes,activation_bytes,output_bytes"
    for (i = 0; i < 120; i++) printf "e,%d,%.4f,%d,1000,%d\n", i, 0.001 + 0.0001 * (i * 37 % 190), 50000000 + i * 100000, 1000 * (1 + i % 90) }' > wide/box/stages.csv
cp far/links.csv many && sed -i 's/1e6$/0.0001/' many/links.csv
for algorithm in exact pipeedge edgeshard; do
    exit_is 0 "$algorithm is cut short" orrery-sim place --service e --cluster many --costs wide/box --algorithm $algorithm \
        --objective latency --time-limit 20ms -o p.csv
    like "$algorithm says so" "$(tr -s ' \n' ' ' <<< "$out")" 'until the time was over|the search was cut short'
done

# ---- the table of a comparison takes the place of none of its placements
compared=(compare --service a=gpt2-4l --cluster cluster --costs "$data/costs/board" --algorithm exact)
exit_is 2 "the table under the name of a placement" orrery-sim "${compared[@]}" --csv found/exact.csv --placements-out found
like "is refused" "$err" "--csv is 'found/exact.csv': placements of 'exact' have that name in the folder of --placements-out"
no_file "before anything is written" found
mkdir found && ln -s found same
exit_is 2 "by another name of the folder" orrery-sim "${compared[@]}" --csv ./same//exact-latency.csv --placements-out found
exit_is 2 "or of one that is not there yet" orrery-sim "${compared[@]}" --csv new/./exact.csv --placements-out ./new/
exit_is 0 "any other name is free" orrery-sim "${compared[@]}" --csv found/table.csv --placements-out found
exit_is 0 "as is any other folder" orrery-sim "${compared[@]}" --csv exact.csv --placements-out found

# ---- costs outside the measured range are told of, whoever predicts
exit_is 0 "sums" orrery-sim place --service a=gpt2-4l --cluster cluster --costs "$data/costs/board" --prompt 900 --output 8 -o p.csv
like "warn" "$out" "warning +[0-9]+ operator costs behind what is predicted lie"
counted=$(grep -o '[0-9]* operator costs' <<< "$out")
orrery-sim generate --process poisson --rate 1/s --requests 1 --service a --prompt constant:900 --output constant:8 -o lone.csv > /dev/null
orrery-sim run --placement p.csv --cluster cluster --costs "$data/costs/board" --workload lone.csv --json > run.json
is "as many as of a run" "${counted%% *}" "$(sed -n 's/^ *"extrapolated_costs": \([0-9]*\),*$/\1/p' run.json)"
exit_is 0 "a rate" orrery-sim capacity --placement p.csv --cluster cluster --costs "$data/costs/board" --prompt constant:900 \
    --output constant:4 --slo 100s --requests 20
like "warns" "$out" "warning +[0-9]+ operator costs behind what is predicted lie"
exit_is 0 "boards" orrery-sim capacity --boards prefix --service a=gpt2-4l --rate 0.01/s --cluster cluster --costs "$data/costs/board" \
    --prompt constant:900 --output constant:4 --slo 1000s --requests 20
like "warn, too" "$out" "warning +[0-9]+ operator costs behind what is predicted lie"

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
