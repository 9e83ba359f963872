#!/bin/bash
# orrery-run end to end with a tiny model and real worker processes on loopback: the tables it writes,
# workers that die or never come, bad input, full disks. Every run is bounded by timeout.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
need orrery-run
cd "$tmp" || exit 2

tiny_models models.csv \
    "tiny-bert,encoder,2,64,4,4,16,256,512,gelu,layer,learned,no,32,32,64" \
    "tiny-vit,vision,2,64,4,4,16,256,10,gelu,layer,learned,no,32,32,17" \
    "huge,decoder,1000,131072,4,4,16,262144,512,gelu,layer,rope,no,32,32,256"
cat > one.csv << 'END'
service,replica,stage,device,model
chat,0,0,d0,tiny
END
tiny_pipeline two.csv
cat > open.csv << 'END'
request_id,arrival_s,service,prompt_tokens,output_tokens
1,0,chat,16,8
2,0.01,chat,32,4
3,0.02,chat,8,1
5,0.05,chat,250,8
8,0.1,chat,16,6
END
cat > closed.csv << 'END'
request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s
0,,chat,16,8,a,0
1,,chat,32,4,b,0
2,,chat,8,1,a,0.01
3,,chat,8,6,b,0.01
END
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s'
    for ((i = 0; i < 4000; i++)); do echo "$i,,chat,16,8,c$((i % 2)),0.01"; done
} > long.csv

run() { # orrery-run with the models of this test
    timeout 30 orrery-run --models models.csv "$@"
}
count() { # FILE STATUS
    column "$1" status | grep -cx "$2"
}
outs=(--requests-out r.csv --stages-out s.csv)
fresh() { rm -f r.csv s.csv t.csv; }
left_behind() { compgen -G "$tmp/*.tmp"; }

# ---- what a run writes
fresh
exit_is 0 "one device, open load" run --local --placement one.csv --workload open.csv "${outs[@]}"
like "the summary counts" "$out" "5: 4 ok, 0 failed, 1 refused"
is "requests are in workload order" "$(column r.csv request_id | xargs)" "1 2 3 5 8"
is "a request over the context is refused" "$(column r.csv status | xargs)" "ok ok ok refused ok"
like "a refused request has no times" "$(grep '^5,' r.csv)" "^5,chat,,0.05,,,,250,8,,refused"
like "the head names the seed" "$(head -n 2 r.csv)" "orrery: requests 1.# seed: 1"
like "the head names the BLAS" "$(cat r.csv)" "# blas_core: "
is "a step is recorded for each token" "$(column s.csv request_id | uniq -c | xargs)" "8 1 4 2 1 3 6 8"
is "the first step is a prefill, the others decode" "$(column s.csv phase | head -n 3 | xargs)" "prefill decode decode"
times_rise() { # arrival <= start <= first token <= finish in every row that is ok
    grep -v '^#' "$1" | awk -F, 'NR > 1 && $11 == "ok" && !($4 <= $5 && $5 <= $6 && $6 <= $7) { print; bad = 1 } END { exit bad }'
}
ok "times of a request rise" times_rise r.csv

fresh
exit_is 0 "a pipeline of two, closed load" run --local --placement two.csv --workload closed.csv "${outs[@]}" --transfers-out t.csv
is "every request is ok" "$(count r.csv ok)" 4
is "both stages record every step" "$(column s.csv device | sort | uniq -c | xargs)" "19 d0 19 d1"
ok "times of a request rise in a pipeline" times_rise r.csv
stages_in_turn() {
    grep -v '^#' s.csv | awk -F, 'NR > 1 { if ($6 >= $7 || ($4 == 1 && $6 < before)) { print; bad = 1 } before = $7 } END { exit bad }'
}
ok "a stage computes after the one before it" stages_in_turn
one_at_a_time() { # no device computes two things at once
    grep -v '^#' s.csv | tail -n +2 | sort -t, -k5,5 -k6,6g |
        awk -F, '{ if ($5 == device && $6 < end) { print; bad = 1 } device = $5; end = $7 } END { exit bad }'
}
ok "a device computes one step at a time" one_at_a_time
think() { # request 2 arrives when request 0 has finished, plus 0.01 s
    grep -v '^#' r.csv | awk -F, '$1 == 0 { end = $7 } $1 == 2 { d = $4 - end - 0.01; exit !(d > -1e-9 && d < 1e-9) }'
}
ok "a client thinks after its previous request" think
is "three transfers a step: in, between, back" "$(column t.csv from_device | sort | uniq -c | xargs)" "19 d0 19 d1 19 source"
like "a prefill sends its activations" "$(grep '^0,0,,d0' t.csv)" "^0,0,,d0,d1,,4096,"
sent_before_received() { grep -v '^#' t.csv | awk -F, 'NR > 1 && $8 > $9 { print; bad = 1 } END { exit bad }'; }
ok "nothing is received before it is sent" sent_before_received

fresh
exit_is 0 "short options, as orrery-sim run has them" run --local -p one.csv -w open.csv "${outs[@]}"
like "the load is announced" "$err" "orrery-run: 1 worker has joined; 5 requests, about 100 ms"

fresh
exit_is 0 "the summary as JSON" run --local --placement one.csv --workload closed.csv "${outs[@]}" --json --seed 9
like "JSON holds the schema, seed and counts" "$(tr -d ' \n' <<< "$out")" '^\{"schema":1,.*"seed":9,.*"requests":\{"total":4,"ok":4,'
like "JSON holds the shared keys" "$(tr -d ' \n' <<< "$out")" '"latency_s":\{"mean":0.*"ttft_s":.*"tpot_s":.*"throughput_per_s":.*"output_tokens_per_s":.*"services":\[.*"devices":\[.*"warnings":\[\]'

exit_is 0 "a table on stdout, the summary on stderr" run --local --placement one.csv --workload closed.csv --requests-out - --stages-out s.csv
like "stdout is the table" "$out" "^# orrery: requests 1"
like "stderr has the summary" "$err" "4: 4 ok"

cat > mixed.csv << 'END'
service,replica,stage,device,model,layers,block
text,0,0,d0,tiny-bert,,all
picture,0,0,d0,tiny-vit,,embed
picture,0,0,d0,tiny-vit,0,layer
picture,0,1,d1,tiny-vit,1,layer
picture,0,1,d1,tiny-vit,,lm_head
END
printf 'request_id,arrival_s,service,prompt_tokens\n0,0,text,20\n1,0,picture,17\n2,0.01,picture,\n' > mixed-load.csv
fresh
exit_is 0 "encoders and vision models run" run --local --placement mixed.csv --workload mixed-load.csv "${outs[@]}"
is "one step each" "$(column s.csv request_id | uniq -c | xargs)" "1 0 2 1 2 2"
is "their result is their first token" "$(column r.csv first_token_s)" "$(column r.csv finish_s)"

# ---- workers that are started by hand, and a worker's own errors
port=$((20000 + $$ % 20000))
fresh
run --placement two.csv --workload open.csv --listen "127.0.0.1:$port" "${outs[@]}" > by-hand.out 2> by-hand.err &
coordinator=$!
timeout 20 orrery-run worker --device d1 --connect "127.0.0.1:$port" 2> d1.err &
worker=$!
exit_is 2 "a device that is not placed" timeout 20 orrery-run worker --device d9 --connect "127.0.0.1:$port"
like "the worker is told why" "$err" "device 'd9' is not in two.csv"
exit_is 0 "a worker by hand ends with the run" timeout 20 orrery-run worker --device d0 --connect "127.0.0.1:$port" --listen 127.0.0.1:0
wait $worker
is "the other one too" "$? $(cat d1.err)" "0 "
wait $coordinator
is "the run with workers by hand is done" "$?" 0
is "its requests are ok" "$(count r.csv ok)" 4
like "the head names the machine of each worker" "$(cat r.csv)" "# machine of d0: .*# blas_core of d0: .*# machine of d1: .*# blas_core of d1: "

exit_is 2 "no coordinator" timeout 20 orrery-run worker --device d0 --connect 127.0.0.1:1 --wait 200ms
like "says where it looked" "$err" "no coordinator at 127.0.0.1:1 within 200 ms"

# ---- keys
exit_is 0 "keys are drawn" orrery-run keys -o keys
is "the file is named" "$out" "keys/cluster.key"
is "and its owner's alone" "$(stat -c %a keys/cluster.key)" 600
exit_is 2 "keys are never overwritten" orrery-run keys -o keys
exit_is 0 "other keys" orrery-run keys -o other-keys
fresh
exit_is 0 "a run with keys" run --local --keys keys --placement two.csv --workload closed.csv "${outs[@]}"
is "its requests are ok" "$(count r.csv ok)" 4
like "it says who may join" "$err" "listening on 127.0.0.1:[0-9]+, for those who have the keys"
port=$((port + 1))
run --keys keys --placement one.csv --workload open.csv --listen "127.0.0.1:$port" "${outs[@]}" > keys.out 2> keys.err &
coordinator=$!
exit_is 2 "a worker with other keys" timeout 20 orrery-run worker --keys other-keys --device d0 --connect "127.0.0.1:$port"
like "is told" "$err" "orrery-run worker d0: turned away: .*keys"
exit_is 2 "a worker without keys" timeout 20 orrery-run worker --device d0 --connect "127.0.0.1:$port"
like "is told too" "$err" "orrery-run worker d0: turned away: .*keys"
exit_is 0 "the worker with the keys gets in" timeout 20 orrery-run worker --keys keys --device d0 --connect "127.0.0.1:$port"
wait $coordinator
is "and the run is done" "$?" 0
like "the coordinator has said that it turned others away" "$(cat keys.err)" "orrery-run: somebody was turned away: .*keys"
chmod 644 other-keys/cluster.key
exit_is 2 "keys that others may read" run --local --keys other-keys --placement one.csv --workload open.csv "${outs[@]}"
like "are refused" "$err" "other-keys/cluster.key: others than its owner may use it: chmod 600"
exit_is 2 "keys that are not there" timeout 20 orrery-run worker --keys nowhere --device d0 --connect "127.0.0.1:$port"
like "are named" "$err" "nowhere/cluster.key: No such file"

# ---- workers that are not there
fresh
exit_is 2 "a worker is missing" run --placement two.csv --workload open.csv --wait 300ms "${outs[@]}"
like "the row and the command are named" "$err" \
    "two.csv:2:4: device is 'd0': no worker has joined within 0.3 s: start it with .orrery-run worker --device d0 --connect 127.0.0.1:"
no_file "and no file is left" r.csv s.csv
is "nor a temporary one" "$(left_behind)" ""

sed 's/tiny/huge/' one.csv > huge.csv
fresh
exit_is 2 "a model that fits no memory" run --local --placement huge.csv --workload open.csv "${outs[@]}"
like "memory is named" "$err" "1 worker on this machine needs .* of memory, .* of it for KV caches: only .* are available"
no_file "no file for it" r.csv s.csv

# ---- workers that die
workers_of() { pgrep -P "$(pgrep -P "$1")"; }
start_long() { # in the background, then a second of load
    fresh
    timeout 30 orrery-run --models models.csv --local --placement "$1" --workload long.csv "${outs[@]}" > long.out 2> long.err &
    runner=$!
    sleep 1.2
}

start_long two.csv
victim=$(workers_of $runner | tail -n 1)
begun=$SECONDS
kill -9 "$victim"
wait $runner
is "a killed worker ends the run with 1" "$?" 1
ok "within 6 seconds" test $((SECONDS - begun)) -lt 6
like "the loss is said" "$(cat long.err)" "device 'd[01]': worker lost: its process was killed by signal 9"
finished=$(count r.csv ok)
ok "what had finished is written" test "$finished" -gt 10
is "the rest has failed" "$(count r.csv failed)" $((4000 - finished))
ok "what is ok in the table is complete" times_rise r.csv
is "no worker is left" "$(pgrep -f "connect=.*parent=$runner")" ""
is "no temporary file is left" "$(left_behind)" ""

start_long two.csv
victim=$(workers_of $runner | head -n 1)
kill -STOP "$victim"
begun=$SECONDS
wait $runner
is "a worker that stands still is given up" "$?" 1
ok "after 2.5 seconds" test $((SECONDS - begun)) -lt 6
like "its silence is said" "$(cat long.err)" "no sign of life"
ok "and it is killed" test ! -e "/proc/$victim"

cat > replicas.csv << 'END'
service,replica,stage,device,model
chat,0,0,d0,tiny
chat,1,0,d1,tiny
END
sed -n '1,601p' long.csv > some.csv
fresh
timeout 30 orrery-run --models models.csv --local --placement replicas.csv --workload some.csv --dispatch round-robin "${outs[@]}" > some.out 2> some.err &
runner=$!
sleep 1
kill -9 "$(workers_of $runner | tail -n 1)"
wait $runner
is "one replica of two dies: exit 1 or, between requests, 0" "$(($? <= 1))" 1
ok "at most the two under way have failed" test "$(count r.csv failed)" -le 2
is "all others are served by the other replica" "$(count r.csv ok)" $((600 - $(count r.csv failed)))

start_long one.csv
pkill -TERM -P $runner
wait $runner
is "SIGTERM: what has finished is written, exit 1" "$?" 1
ok "some requests are ok" test "$(count r.csv ok)" -gt 10
like "the summary says it" "$(cat long.out)" "interrupted by SIGTERM"
like "so does stderr" "$(cat long.err)" "orrery-run: interrupted by SIGTERM"
busy_at_most_100() { awk '/busy/ { n++; for (i = 1; i < NF; i++) if ($i == "busy" && $(i + 1) > 100) bad = 1 } END { exit bad || !n }' "$1"; }
ok "no device is busy for longer than the run" busy_at_most_100 long.out

# nohup: a signal that is ignored stays ignored. No timeout here: it would restore the signal.
fresh
(
    trap '' HUP
    exec orrery-run --models models.csv --local --placement one.csv --workload long.csv "${outs[@]}" > long.out 2> long.err
) &
runner=$!
sleep 1
kill -HUP $runner
sleep 0.3
kill -TERM $runner
wait $runner
is "an ignored SIGHUP does not end a run, SIGTERM does" "$? $(grep -c 'interrupted by SIGTERM' long.err)" "1 1"

start_long two.csv
victims=$(workers_of $runner)
pkill -KILL -P $runner
wait $runner 2> /dev/null
sleep 0.3
gone() { # ended, though perhaps nobody has asked for its status yet
    [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"
}
for victim in $victims; do
    ok "a worker does not outlive its coordinator" gone "$victim"
done
rm -f ./*.tmp # of the coordinator that was killed

# ---- bad input: before any worker is started, and no file left
bad() { # NAME EXPECTED ARGUMENT...
    local name=$1 expected=$2
    shift 2
    fresh
    exit_is 2 "$name" run --local "$@"
    like "$name: is explained" "$err" "$expected"
    no_file "$name: no file" r.csv s.csv
}
grep -v '2-3' two.csv > gap.csv
bad "a layer left out" "gap.csv:.*layer 2" --placement gap.csv --workload open.csv "${outs[@]}"
sed 's/2-3/1-3/' two.csv > twice.csv
bad "a layer placed twice" "twice.csv:4:6: layers is '1-3': layer 1.*twice" --placement twice.csv --workload open.csv "${outs[@]}"
printf 'service,replica,stage,device,executable\nchat,0,0,d0,box\n' > box.csv
bad "an executable" "box.csv:2:5: executable is 'box': orrery-run executes models" --placement box.csv --workload open.csv "${outs[@]}"
printf 'service,replica,stage,device,model,layers,block\nchat,0,0,d0,tiny,,embed\nchat,0,0,d0,tiny,0-3,attn\nchat,0,0,d0,tiny,0-3,proj\nchat,0,0,d0,tiny,0-3,conn\nchat,0,1,d1,tiny,0-3,ffn\nchat,0,1,d1,tiny,,lm_head\n' > parts.csv
bad "parts of layers" "parts.csv:" --placement parts.csv --workload open.csv "${outs[@]}"
sed 's/tiny/tinny/' one.csv > tinny.csv
bad "an unknown model" "tinny.csv:2:5: model is 'tinny'.*did you mean 'tiny'" --placement tinny.csv --workload open.csv "${outs[@]}"
bad "a missing placement" "nowhere.csv: No such file" --placement nowhere.csv --workload open.csv "${outs[@]}"
sed 's/chat/talk/' open.csv > talk.csv
bad "a service that is not placed" "talk.csv:2:3: service is 'talk': not placed" --placement one.csv --workload talk.csv "${outs[@]}"
mkdir cluster
printf 'device,type\nd0,pc\n' > cluster/devices.csv
bad "a device that the cluster has not" "two.csv:4:4: device is 'd1': no such device" --placement two.csv --cluster cluster --workload open.csv "${outs[@]}"
bad "an output in no folder" "nowhere/r.csv: No such file" --placement one.csv --workload open.csv --requests-out nowhere/r.csv --stages-out s.csv
bad "two outputs of one name" "r.csv: two outputs" --placement one.csv --workload open.csv --requests-out r.csv --stages-out r.csv
cp one.csv read.csv
bad "an output over the placement" "./read.csv is read by this run: an output would replace it" --placement read.csv --workload open.csv --requests-out r.csv --stages-out ./read.csv
same_file "which is as it was" read.csv one.csv
bad "an output over the cluster" "cluster/devices.csv is read by this run" --placement one.csv --cluster cluster --workload open.csv --requests-out cluster/devices.csv --stages-out s.csv
bad "a full disk" "/dev/full: No space left" --placement one.csv --workload closed.csv --requests-out /dev/full --stages-out s.csv
fresh
full_stdout() { run --local --placement one.csv --workload closed.csv "${outs[@]}" > /dev/full; }
exit_is 2 "a full stdout" full_stdout
no_file "a full stdout: no file" r.csv s.csv
fresh
run --local --placement one.csv --workload closed.csv "${outs[@]}" 2> pipe.err | true
is "a reader of stdout that has left: exit 2" "${PIPESTATUS[0]}" 2
like "it is explained" "$(cat pipe.err)" "Broken pipe"
no_file "a reader that has left: no file" r.csv s.csv
bad "an address in use or not ours" "cannot listen on 192.0.2.1:5555" --placement one.csv --workload open.csv "${outs[@]}" --listen 192.0.2.1:5555

usage() { # NAME EXPECTED ARGUMENT...
    local name=$1 expected=$2
    shift 2
    exit_is 2 "$name" timeout 10 orrery-run "$@"
    like "$name: is explained" "$err" "$expected"
}
usage "an unknown word" "'wrk': expected options, or the word 'worker' first" wrk
usage "no placement" "--placement is missing"
usage "an unknown dispatch rule" "least-idle" --dispatch fastest
usage "an unknown batch rule" "none, fixed or continuous; did you mean 'fixed'" --batch fixd:4
usage "a bare duration" "--wait" --wait 10
usage "a bad address" "expected HOST:PORT" --listen nowhere
usage "a bad ratio" "expected DEVICE=RATIO" --pad d0=-1
usage "a ratio without costs" "--pad needs --costs" --placement one.csv --workload open.csv "${outs[@]}" --pad d0=2
usage "a worker without a coordinator" "--device and --connect are needed" worker --device d0

# ---- padding: steps last as long as the table of a slower device says, times the ratio
tiny_costs 20000
printf 'request_id,arrival_s,service,prompt_tokens,output_tokens\n0,0,chat,16,20\n' > single.csv
fresh
exit_is 0 "a padded device" run --local --placement one.csv --workload single.csv "${outs[@]}" --costs costs --pad d0=5
# 4 layers of 11 operators, embed, final norm, lm_head: 47 x 20 us x 5
shortest=$(grep -v '^#' s.csv | awk -F, 'NR > 1 { print $7 - $6 }' | sort -g | head -n 1)
like "a step lasts ratio x price" "$shortest" "^0.0047"
like "the head says that it was padded" "$(cat r.csv)" "# pad: d0=5"
printf 'device,type,threads\nd0,pc,4096\n' > cluster/devices.csv
bad "threads that the BLAS does not have" "one.csv:2:4: device is 'd0': its worker cannot start: 4096 threads are asked for" --placement one.csv --cluster cluster --workload single.csv "${outs[@]}"
mkdir -p lacking/pc
grep -v '^lmhead' costs/pc/kernels.csv > lacking/pc/kernels.csv
bad "a padded step without a price" "one.csv:2:4: device is 'd0': --pad cannot price its stage: .*lmhead" --placement one.csv --workload single.csv "${outs[@]}" -c lacking --pad d0=5
like "it is found before a worker is started" "$(grep -c listening <<< "$err")" "^0$"
fresh
timeout 30 orrery-run --models models.csv --local -p one.csv -w single.csv "${outs[@]}" -c costs --pad d0=1000000 > long.out 2> long.err &
runner=$!
sleep 1
begun=$SECONDS
pkill -TERM -P $runner
wait $runner
is "a padded step of a quarter of an hour is interrupted: exit 1" "$? $(grep -c 'interrupted by SIGTERM' long.err)" "1 1"
ok "at once" test $((SECONDS - begun)) -lt 3
bad "padding a device that is not placed" "--pad d7: no such device" --placement one.csv --workload single.csv "${outs[@]}" --costs costs --pad d7=5

done_testing
