#!/bin/bash
# orrery-run with bounded queues (queue_depth): never more steps than that on their way to a stage or
# waiting for it, and the same requests, steps and messages as in orrery-sim.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv \
    "tiny-bert,encoder,2,64,4,4,16,256,512,gelu,layer,learned,no,32,32,64"
cat > one.csv << 'END'
service,replica,stage,device,model
chat,0,0,d0,tiny
END
tiny_pipeline two.csv
tiny_cluster d0 d1
tiny_costs 20000

depth() { # DEPTH of both stages
    printf '%s\n' 'service,replica,stage,device,model,layers,block,queue_depth' "chat,0,0,d0,tiny,,embed,$1" \
        "chat,0,0,d0,tiny,0-1,layer,$1" "chat,0,1,d1,tiny,2-3,layer,$1" "chat,0,1,d1,tiny,,lm_head,$1"
}
depth 1 > one-deep.csv
depth 3 > three-deep.csv
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens'
    for ((i = 0; i < 12; i++)); do echo "$i,0,chat,$((8 + i)),$((1 + i % 4))"; done
} > burst.csv

run() { timeout 30 orrery-run --models models.csv --cluster cluster --local "$@"; }
stages() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-5,8 | sort; }
transfers() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-2,4-7 | sort; }
outs=(--requests-out r.csv --stages-out s.csv --transfers-out t.csv)
# The most steps that were sent to a stage and had not begun there, at any time: sent counts 1, begun -1,
# at one instant the latter first.
most_waiting() { # DEVICE STAGE
    {
        grep -v '^#' t.csv | awk -F, -v d="$1" '$5 == d { printf "%.9f 1 %s\n", $8, $1 "/" $2 }'
        grep -v '^#' s.csv | awk -F, -v s="$2" 'NR > 1 && $4 == s { printf "%.9f -1 %s\n", $6, $1 "/" $8 }'
    } | sort -k1,1g -k2,2g | awk '{ n += $2; if (n > most) most = n } END { print most }'
}
for placement in one-deep three-deep; do
    limit=$([ $placement = one-deep ] && echo 1 || echo 3)
    exit_is 0 "$placement" run -p $placement.csv -w burst.csv --costs costs --pad d0=1 --pad d1=3 "${outs[@]}"
    is "$placement: every request is ok" "$(grep -c ',ok,' r.csv)" 12
    is "$placement: stage 0 is never asked for more" "$(most_waiting d0 0)" "$limit"
    is "$placement: nor is stage 1, which is slower" "$(most_waiting d1 1)" "$limit"
    exit_is 0 "$placement, predicted" orrery-sim run --models models.csv --cluster cluster --costs costs -p $placement.csv \
        -w burst.csv --requests-out sim-r.csv --stages-out sim-s.csv --transfers-out sim-t.csv
    is "$placement: the same steps" "$(stages s.csv)" "$(stages sim-s.csv)"
    is "$placement: the same messages" "$(transfers t.csv)" "$(transfers sim-t.csv)"
done
# A device that is kept counts as idle.
run -p one-deep.csv -w burst.csv --costs costs --pad d0=1 --pad d1=3 "${outs[@]}" --json 2> /dev/null | tr -d ' \n' > summary.json
busy() { grep -oE "\"device\":\"$1\",\"busy_ratio\":[0-9.]+" summary.json | cut -d: -f 3; }
ok "who is kept by a slower stage is idle" awk "BEGIN { exit !($(busy d0) < $(busy d1)) }"

exit_is 0 "batches" run -p one-deep.csv -w burst.csv --batch continuous:3:24 --costs costs --pad d0=1 --pad d1=3 "${outs[@]}"
is "batches: every request is ok" "$(grep -c ',ok,' r.csv)" 12
exit_is 0 "batches, predicted" orrery-sim run --models models.csv --cluster cluster --costs costs -p one-deep.csv \
    -w burst.csv --batch continuous:3:24 --requests-out sim-r.csv --stages-out sim-s.csv --transfers-out sim-t.csv
is "batches: as many tokens" "$(grep -v '^#' s.csv | grep -c ',decode$')" "$(grep -v '^#' sim-s.csv | grep -c ',decode$')"

# What leaves a queue because its request has failed makes room as well: the other replica goes on.
{
    depth 1
    depth 1 | tail -n +2 | sed 's/^chat,0/chat,1/; s/,d0,/,d2,/; s/,d1,/,d3/; s/,d3tiny/,d3,tiny/'
} > replicas.csv
printf 'device,type\nd0,pc\nd1,pc\nd2,pc\nd3,pc\n' > cluster/devices.csv
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s'
    for ((i = 0; i < 1500; i++)); do echo "$i,,chat,16,4,c$((i % 8)),0"; done
} > long.csv
timeout 30 orrery-run --models models.csv --cluster cluster --local -p replicas.csv -w long.csv --dispatch round-robin "${outs[@]}" > long.out 2> long.err &
runner=$!
for ((i = 0; i < 200; i++)); do # until the load has begun, however busy the machine is
    grep -qs 'have joined' long.err && break
    sleep 0.05
done
sleep 0.5
kill -9 "$(pgrep -P "$(pgrep -P $runner)" | tail -n 1)"
wait $runner
is "one replica of two dies" "$? $(grep -c 'worker lost' long.err)" "1 1"
is "all requests have ended" "$(grep -cE ',(ok|failed),' r.csv)" 1500
ok "at most those under way have failed" test "$(grep -c ',failed,' r.csv)" -le 8

# A worker that comes back finds its queue empty, and those before it know.
printf 'time_s,target,event\n0.4,d1,down\n0.9,d1,up\n' > events.csv
exit_is 0 "a worker that comes back" timeout 30 orrery-run --models models.csv --cluster cluster --local -p one-deep.csv -w long.csv \
    --events events.csv --on-failure replay "${outs[@]}"
is "every request is ok" "$(grep -c ',ok,' r.csv)" 1500

done_testing
