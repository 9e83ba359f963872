#!/bin/bash
# Workers of orrery-run that are lost and come back: the drill of --events against the simulator, replays,
# a worker that is started again by hand, a coordinator that is killed.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv
cat > replicas.csv << 'END'
service,replica,stage,device,model
chat,0,0,d0,tiny
chat,1,0,d1,tiny
END
tiny_pipeline pipeline.csv
printf '%s\n' service,replica,stage,device,model,layers,block,parts chat,0,0,d0,tiny,,embed, chat,0,0,d0,tiny,0-3,attn,0/2 \
    chat,0,0,d1,tiny,0-3,attn,1/2 chat,0,0,d0,tiny,0-3,proj,0/2 chat,0,0,d1,tiny,0-3,proj,1/2 chat,0,0,d0,tiny,0-3,ffn,0/2 \
    chat,0,0,d1,tiny,0-3,ffn,1/2 chat,0,0,d0,tiny,0-3,conn, chat,0,0,d0,tiny,,lm_head, > halves.csv
mkdir -p cluster
tiny_costs 20000 2 # 20 us each, whatever the size: 0.94 ms a step, 188 ms on boards that are 200 times slower
printf 'device,type,speed_ratio\nd0,pc,0.005\nd1,pc,0.005\n' > cluster/devices.csv
printf 'medium,kind,node,bits_per_s,latency_s\nlan,switch,*,1e9,0.0001\n' > cluster/links.csv
{ # one every 250 ms, from 0.1 s on
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens'
    for ((i = 0; i < 14; i++)); do echo "$i,$(((100 + 250 * i) / 1000)).$(printf %03d $(((100 + 250 * i) % 1000))),chat,16,1"; done
} > load.csv
# in the middle of a step, and far from every arrival
cat > drill.csv << 'END'
time_s,target,event
0.95,d1,down
1.95,d1,up
2.40,d0,down
2.95,d0,up
END
mkdir -p four
outs=(--requests-out r.csv --stages-out s.csv)
run() { timeout 40 orrery-run --models models.csv "$@"; }
drill() { # PLACEMENT OPTION...
    rm -f r.csv s.csv
    run --local --placement "$1" --cluster cluster --workload load.csv --dispatch round-robin --costs costs \
        --pad d0=200 --pad d1=200 --events drill.csv "${outs[@]}" "${@:2}" > run.out 2> run.err
}
# What sleeps most of the time runs side by side, each in a folder of its own, where $?'s are kept in `status`.
apart() { # FOLDER COMMAND...
    mkdir -p "$1"
    (cd "$1" && ln -sfn ../*.csv ../cluster ../costs ../four . && rm -f r.csv s.csv brief.csv && "${@:2}")
    echo $? > "$1/status"
}
fates() { paste -d : <(column "$1" request_id) <(column "$1" status) | xargs; }
predict() {
    orrery-sim run --models models.csv --placement "$1" --cluster cluster --workload load.csv --dispatch round-robin \
        --costs costs --events drill.csv --requests-out predicted.csv > sim.out 2> sim.err
}

apart nobody timeout 20 orrery-run status --connect 127.0.0.1:1 2> nobody.err &
nobody=$!

# ---- the same drill in the simulator and for real, and with replays
same_fates() { # FOLDER PLACEMENT: on a busy machine an instant may be missed, but not three times
    predict "$2" || return 1
    for ((try = 0; try < 3; try++)); do
        [ "$(fates "$1/r.csv")" = "$(fates predicted.csv)" ] && return 0
        apart "$1" drill "$2"
    done
    printf '%s\n' "$(fates predicted.csv)" "$(fates "$1/r.csv")" "$(cat "$1/run.err")"
    return 1
}
counts() { column "$1" status | sort | uniq -c | xargs; }
drills=
for placement in replicas pipeline halves; do
    apart same-$placement drill $placement.csv &
    drills="$drills $!"
    apart replay-$placement drill $placement.csv --on-failure replay &
    drills="$drills $!"
done
# shellcheck disable=SC2086  # several
wait $drills
ok "two replicas: the same requests fail as are predicted to" same_fates same-replicas replicas.csv
is "some do, and most do not" "$(counts same-replicas/r.csv)" "2 failed 12 ok"
like "every loss and return is said" "$(cat same-replicas/run.err)" "device 'd1': worker lost: killed by --events at 950 ms.*device 'd1': a worker is back.*device 'd0': worker lost: .*device 'd0': a worker is back"
like "the summary counts them" "$(cat same-replicas/run.out)" "failures  2 workers lost, 2 came back; 0 requests begun anew"
ok "a pipeline: the same requests fail as are predicted to" same_fates same-pipeline pipeline.csv
ok "while a device is down all fail" test "$(column same-pipeline/r.csv status | grep -cx failed)" -gt 4
ok "a stage on both: the same requests fail as are predicted to" same_fates same-halves halves.csv
like "a device of it comes back, too" "$(cat same-halves/run.out)" "failures  2 workers lost, 2 came back; 0 requests begun anew"
is "a replay waits for it" "$(cat replay-halves/status) $(counts replay-halves/r.csv)" "0 14 ok"
is "with replays nothing fails: exit 0" "$(cat replay-replicas/status)" 0
is "every request is ok" "$(counts replay-replicas/r.csv)" "14 ok"
# at 0.95 and 2.40 s one is under way, unless a busy machine has been late
like "they are counted" "$(cat replay-replicas/run.out)" "2 workers lost, 2 came back; [1-4] requests? begun anew"
is "the traces hold one attempt each" "$(column replay-replicas/s.csv request_id | uniq -c | awk '$1 != 1' | wc -l)" 0
is "without another replica a replay waits for the device" "$(cat replay-pipeline/status) $(counts replay-pipeline/r.csv)" "0 14 ok"

# batches: one replica has had eight requests at once when it is lost, the one that is left takes two
sed 's/^service.*/&,max_batch/; s/d0,tiny/&,2/; s/d1,tiny/&,8/' replicas.csv > batched.csv
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens'
    for ((i = 0; i < 16; i++)); do echo "$i,0.$((110 + i)),chat,16,36"; done
} > burst.csv
printf 'time_s,target,event\n0.45,d1,down\n' > fall.csv
run --local --placement batched.csv --cluster cluster --workload burst.csv --dispatch round-robin --costs costs --pad d0=2 \
    --pad d1=200 --batch continuous:8 --kv-blocks 7 --events fall.csv --on-failure replay "${outs[@]}" > run.out 2> run.err
is "replayed requests of batches end well" "$? $(column r.csv status | sort | uniq -c | xargs)" "0 16 ok"
is "each has begun" "$(column r.csv start_s | grep -c .)" 16
is "their steps count from 0" "$(paste -d , <(column s.csv request_id) <(column s.csv step) | sort -t , -k 1n -k 2n |
    awk -F, '$1 != last { last = $1; next_step = 0 } $2 != next_step++' | wc -l)" 0

# ---- drills of more than one attempt, or one way out
printf 'device,type,speed_ratio\nd0,pc,0.005\nd1,pc,0.005\nd2,pc,0.005\nd3,pc,0.005\n' > four.csv
cp four.csv four/devices.csv && cp cluster/links.csv four/
tokens=6
{ # a burst
    head -n 1 load.csv
    for ((i = 0; i < 12; i++)); do echo "$i,0.1$(printf %02d $i),chat,16,$tokens"; done
} > burst.csv
brief() { # PLACEMENT EVENTS OPTION...: TIME,DEVICE,EVENT in one word each
    rm -f r.csv s.csv brief.csv
    printf 'time_s,target,event\n' > brief.csv
    tr ' ' '\n' <<< "$2" >> brief.csv
    timeout 30 orrery-run --models "${models:-models.csv}" --local --placement "$1" --cluster four --workload burst.csv \
        --events brief.csv "${outs[@]}" "${@:3}" > run.out 2> run.err
}
# Every request is ok, has a start, and each of its steps once in each place where it ran.
whole() {
    [ "$(column r.csv status | sort | uniq -c | xargs)" = "12 ok" ] && ! column r.csv start_s | grep -qx '' || return 1
    [ -z "$(paste -d , <(column s.csv request_id) <(column s.csv stage) <(column s.csv device) <(column s.csv step) | sort | uniq -d)" ] &&
        [ "$(paste -d , <(column s.csv request_id) <(column s.csv step) | sort -u | wc -l)" -eq $((12 * tokens)) ]
}
printf 'service,replica,stage,device,model,layers,block,queue_depth\n' > bounded.csv
for r in 0 1; do
    first=d$((2 * r)) second=d$((2 * r + 1))
    printf '%s\n' "chat,$r,0,$first,tiny,,embed,1" "chat,$r,0,$first,tiny,0-1,layer,1" \
        "chat,$r,1,$second,tiny,2-3,layer,1" "chat,$r,1,$second,tiny,,lm_head,1"
done >> bounded.csv
pads=(--costs costs --pad d0=20 --pad d1=20 --pad d2=20 --pad d3=20)
slow=(--costs costs --pad d0=40 --pad d1=40)
# the one falls at the instant at which the other is up again
brief bounded.csv '0.13,d3,down 0.45,d1,down 0.45,d3,up' --on-failure replay "${pads[@]}"
is "steps that wait for room of a lost replica leave for another" $? 0
ok "bounded queues: replays are whole" whole
brief replicas.csv 0.3,d1,down --on-failure replay --batch continuous:4 "${slow[@]}"
is "batches: what a lost replica had begun goes to another" $? 0
ok "batches: replays are whole" whole
brief pipeline.csv '0.3,d1,down 0.9,d1,up' --on-failure replay --batch continuous:4 "${slow[@]}"
is "batches: a replay waits for its device" $? 0
ok "batches: those that have waited are whole" whole
# Whatever it is doing when it falls: how many of several instants end well.
whole_brief() { brief "$@" && whole; }
at_instants() { # NAME PLACEMENT OPTION...
    local at runs='' well=0
    for at in 0.30 0.31 0.32 0.33 0.34; do
        apart "$1-$at" whole_brief "$2" $at,d1,down --on-failure replay "${@:3}" &
        runs="$runs $!"
    done
    # shellcheck disable=SC2086  # several
    wait $runs
    for at in 0.30 0.31 0.32 0.33 0.34; do
        [ "$(cat "$1-$at/status")" -eq 0 ] && well=$((well + 1))
    done
    echo $well
}
{ cat pipeline.csv && echo chat,1,0,d0,tiny,,all; } > both.csv
is "a batch for a lost device holds up no other replica" "$(at_instants both both.csv --batch continuous:4 "${slow[@]}")" 5
# not padded: some milliseconds a step
sed 's/tiny,decoder,4,64,4,4,16,256,512,gelu,layer,learned,yes/tiny,decoder,4,512,8,8,64,2048,2048,gelu,layer,learned,no/' models.csv > middle.csv
models=middle.csv
printf '%s\n' service,replica,stage,device,model,layers,block,parts chat,0,0,d0,tiny,,embed, chat,0,0,d0,tiny,0-3,layer,0/2 \
    chat,0,0,d1,tiny,0-3,layer,1/2 chat,0,0,d0,tiny,,lm_head, chat,1,0,d0,tiny,,all, > beside.csv
is "an exchange with a lost device holds up no other replica" "$(at_instants beside beside.csv)" 5
printf '%s\n' service,replica,stage,device,model,layers,block,parts chat,0,0,d0,tiny,,embed, chat,0,0,d0,tiny,0-1,layer,0/2 \
    chat,0,0,d1,tiny,0-1,layer,1/2 chat,0,1,d2,tiny,2-3,layer, chat,0,1,d2,tiny,,lm_head, > before.csv
brief before.csv '0.3,d2,down 0.8,d2,up' --on-failure replay
is "replays pass a stage on several devices" $? 0
ok "they are whole" whole
# a device of a stage on several is lost in the middle of passes, again and again, also while another one is away
falls='0.30,d1,down 0.31,d1,up 0.45,d0,down 0.47,d0,up 0.60,d1,down 0.61,d0,down 0.62,d1,up 0.63,d0,up 0.90,d2,down 0.91,d1,down 0.92,d2,up 0.93,d1,up'
brief before.csv "$falls" --on-failure replay
is "a stage on several devices that is lost again and again is up again" $? 0
ok "what has been replayed is whole" whole
like "workers have come back" "$(cat run.out)" "[3-6] workers lost, [3-6] came back"
sed 's/d0,tiny,,lm_head/d2,tiny,,lm_head/; s/,0-3,/,0-1,/; s/d0,tiny,0-1,conn,/&\nchat,0,1,d2,tiny,2-3,layer,/; s/,0,0,d2/,0,1,d2/' halves.csv > batches.csv
brief batches.csv "$falls" --on-failure replay --batch continuous:4
is "batches on it are, too" $? 0
ok "they are whole" whole
models=models.csv
brief replicas.csv '0.3,d0,down 0.3,d1,down 0.32,d0,up' --on-failure replay --costs costs --pad d0=20 --pad d1=20
is "a device that is up sooner than its worker is waited for" $? 0
ok "what has waited is whole" whole

# ---- a worker that is started again by hand
port=$((20000 + $$ % 20000))
{
    head -n 1 load.csv
    for ((i = 0; i < 400; i++)); do echo "$i,$((i / 10)).$((i % 10))5,chat,16,2"; done
} > long.csv
worker() { timeout 40 orrery-run worker --device "$1" --connect "127.0.0.1:$port" 2> "$1.err"; }
await_line() { # FILE TEXT: within 20 s
    for ((n = 0; n < 200; n++)); do
        grep -q "$2" "$1" && return 0
        sleep 0.1
    done
    return 1
}
await_ok() { # COUNT: so many more requests have ended well, within 20 s
    local from
    from=$(grep -c ',ok,' r.csv.partial 2> /dev/null)
    for ((n = 0; n < 200; n++)); do
        [ "$(grep -c ',ok,' r.csv.partial 2> /dev/null || true)" -ge $((${from:-0} + $1)) ] && return 0
        sleep 0.1
    done
    return 1
}
start_by_hand() { # OPTION...
    : > run.err
    rm -f r.csv s.csv
    timeout 40 orrery-run --models models.csv --placement pipeline.csv --workload long.csv --listen "127.0.0.1:$port" \
        "${outs[@]}" "$@" > run.out 2> run.err &
    coordinator=$!
    worker d0 &
    first=$!
    worker d1 &
    second=$!
    await_line run.err "have joined"
    await_ok 5
}
start_by_hand --rejoin-wait 20s
kill -9 "$(pgrep -P "$(pgrep -P $second)")"
begun=$SECONDS
ok "a killed worker is noticed" await_line run.err "device 'd1': worker lost"
ok "within 3 s, on a busy machine in 6" test $((SECONDS - begun)) -lt 6
exit_is 0 "the status is told while the run goes on" timeout 20 orrery-run status --connect "127.0.0.1:$port"
like "requests are counted" "$out" "running   .*: [0-9]+ of 400 requests have arrived.requests  [0-9]+ ok, [0-9]+ failed, "
like "rates over three spans, and moving averages" "$out" "instant   in .*window    in .*global    in .*average   "
like "who is up and who is down" "$out" "d0 +up .*d1 +down "
is "no line is longer than 80 columns" "$(grep -cE '^.{81,}' <<< "$out")" 0
exit_is 0 "the status as JSON" timeout 20 orrery-run status --connect "127.0.0.1:$port" --json
like "JSON names the keys" "$(tr -d ' \n' <<< "$out")" '^\{"schema":1,"running_s":[0-9.]+,"requests":\{"total":400,.*"ewma":\{"in_system":.*"device":"d1","state":"down","trouble":"'
worker d1 &
second=$!
ok "one that is started in its place is taken" await_line run.err "device 'd1': a worker is back"
await_ok 5
kill -TERM "$(pgrep -P $coordinator)" # the rest of the load is like this
wait $coordinator
is "the run ends with 1" "$?" 1
is "what failed stands between what went well" "$(column r.csv status | uniq | xargs)" "ok failed ok failed"
wait $first
is "the worker that stayed has left with the run" "$? $(cat d0.err)" "0 "
wait $second
is "so has the one that came back" "$? $(cat d1.err)" "0 "

# ---- one of two that are lost comes back
port=$((port + 1))
start_by_hand --rejoin-wait 3s --on-failure replay
kill -9 "$(pgrep -P "$(pgrep -P $first)")" "$(pgrep -P "$(pgrep -P $second)")"
ok "both are noticed" await_line run.err "device 'd1': worker lost"
worker d1 &
second=$!
begun=$SECONDS
wait $coordinator
is "a run whose other device never comes ends" "$?" 1
ok "when --rejoin-wait is over" test $((SECONDS - begun)) -lt 10
wait $second

# ---- a stage on both: each of its devices is lost in turn, and nothing with them
port=$((port + 1))
start_by_hand --placement halves.csv --rejoin-wait 20s --on-failure replay
kill -9 "$(pgrep -P "$(pgrep -P $second)")"
await_line run.err "device 'd1': worker lost"
worker d1 &
second=$!
ok "the other part of a stage is taken again" await_line run.err "device 'd1': a worker is back"
await_ok 5
kill -9 "$(pgrep -P "$(pgrep -P $first)")"
await_line run.err "device 'd0': worker lost"
worker d0 &
first=$!
ok "so is the first" await_line run.err "device 'd0': a worker is back"
await_ok 5
kill -TERM "$(pgrep -P $coordinator)"
wait $coordinator
is "what was under way has been replayed" "$(column r.csv status | uniq | xargs)" "ok failed"
wait $first
is "both have left with the run" "$? $(cat d0.err)" "0 "
wait $second

# ---- a coordinator that is killed
port=$((port + 1))
start_by_hand
kill -9 "$(pgrep -P $coordinator)"
begun=$SECONDS
wait $first
is "a worker without its coordinator gives up" "$?" 2
wait $second
ok "within 3 s, on a busy machine in 6" test $((SECONDS - begun)) -lt 6
like "and says why" "$(cat d0.err)" "the coordinator at 127.0.0.1:$port has not answered for 2.5 s"
wait $coordinator 2> /dev/null

wait $nobody
is "the status of nobody" "$(cat nobody/status)" 2
like "says so" "$(cat nobody.err)" "orrery-run status: no coordinator at 127.0.0.1:1"
exit_is 2 "the status of what is not said" orrery-run status
like "asks where" "$err" "--connect is missing"

# ---- what a drill cannot do
bad() { # NAME EXPECTED ARGUMENT...
    exit_is 2 "$1" run "${@:3}"
    like "$1: is explained" "$err" "$2"
}
bad "a drill of workers elsewhere" "--events needs --local" --placement replicas.csv --workload load.csv "${outs[@]}" --events drill.csv
printf 'time_s,target,event\n1,lan,down\n' > lan.csv
bad "a drill of a link" "lan.csv:2: orrery-run performs down and up of devices: 'lan' can only be simulated" --local --placement replicas.csv --cluster cluster --workload load.csv "${outs[@]}" --events lan.csv
printf 'time_s,target,event\n1,d9,down\n' > d9.csv
bad "a drill of an unknown device" "d9.csv:2:2: target is 'd9'" --local --placement replicas.csv --cluster cluster --workload load.csv "${outs[@]}" --events d9.csv
bad "an unknown rule" "--on-failure is 'retry': expected fail or replay" --local --placement replicas.csv --workload load.csv "${outs[@]}" --on-failure retry
done_testing
