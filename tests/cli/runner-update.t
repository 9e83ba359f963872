#!/bin/bash
# Another placement for a run that goes on: `orrery-run update`. Requests under way end where they are, later ones go
# by the new one; what cannot be is refused, and the run goes on.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
. "$(dirname "$0")/long_run.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv "other,decoder,4,64,4,4,16,256,512,gelu,layer,learned,yes,32,32,256"
tiny_pipeline two.csv
printf '%s\n' service,replica,stage,device,model chat,0,0,d0,tiny chat,1,0,d1,tiny > replicas.csv
printf '%s\n' service,replica,stage,device,model,layers,block,parts chat,0,0,d0,tiny,,embed, chat,0,0,d0,tiny,0-3,layer,0/2 \
    chat,0,0,d1,tiny,0-3,layer,1/2 chat,0,0,d0,tiny,,lm_head, > halves.csv
printf '%s\n' service,replica,stage,device,model,layers,block,queue_depth,wire_bits chat,0,0,d1,tiny,,embed,2,8 \
    chat,0,0,d1,tiny,0,layer,2,8 chat,0,1,d0,tiny,1-3,layer,2, chat,0,1,d0,tiny,,lm_head,2, > bounded.csv
load() { # REQUESTS: of three clients, some ms each
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s'
    for ((i = 0; i < $1; i++)); do echo "$i,,chat,16,4,c$((i % 3)),0.01"; done
}
load 20000 > long.csv
outs=(--requests-out r.csv --stages-out s.csv)
begin_two() { begin --placement two.csv "$@"; } # the last placement counts
update() { timeout 30 orrery-run update --connect "127.0.0.1:$port" --placement "$1" "${@:2}"; }
# Requests that ended well, in order of arrival.
ended() { grep -v '^#' r.csv | awk -F, '$11 == "ok"' | sort -t , -k 4g; }

# ---- to replicas, back, and to a stage cut over both
begin_two
exit_is 0 "an update is taken" update replicas.csv
like "it says from when on" "$out" "^replicas.csv is epoch 1 from [0-9.]+ m?s on$"
await_more 100
exit_is 0 "another one" update two.csv
like "is the next epoch" "$out" "^two.csv is epoch 2 from "
await_more 100
exit_is 0 "and one that cuts layers" update halves.csv
await_more 100
exit_is 0 "and one with bounded queues and few bits" update bounded.csv
await_more 100
finish
# three are under way at the end, and those behind them have not arrived
is "nothing failed before the end" "$(ended | sort -t , -k 1n | awk -F, '$1 - last > 4 { bad = 1 } { last = $1 } END { print bad + 0 }')" 0
is "all epochs have had requests, in turn" "$(ended | cut -d , -f 13 | uniq | xargs)" "0 1 2 3 4"
in_turn() { # a request goes by its arrival
    ended | awk -F, '{ if ($4 > last[$13]) last[$13] = $4; if (!($13 in first) || $4 < first[$13]) first[$13] = $4 }
        END { for (e = 1; e <= 4; e++) if (last[e - 1] >= first[e]) { print e, last[e - 1], first[e]; bad = 1 } exit bad }'
}
ok "a request belongs to the epoch of its arrival" in_turn
places() { # EPOCH: where its requests computed: stage and device
    awk -F, -v epoch="$1" 'FNR == NR { if ($11 == "ok" && $13 == epoch) mine[$1]; next } $1 in mine { print $4 $5 }' <(grep -v '^#' r.csv) \
        <(grep -v '^#' s.csv) | sort -u | xargs
}
is "epoch 0 ran as the first placement says" "$(places 0)" "0d0 1d1"
is "epoch 1 as the second" "$(places 1)" "0d0 0d1"
is "epoch 2 as the third" "$(places 2)" "0d0 1d1"
is "epoch 3 as the fourth" "$(places 3)" "0d0 0d1"
is "epoch 4 as the fifth" "$(places 4)" "0d1 1d0"
whole() { # four steps, each in every place of its epoch
    awk -F, 'FNR == NR { if ($11 == "ok") want[$1] = $13 == 1 ? 4 : 8; next } $1 in want { seen[$1]++ }
        END { for (r in want) if (seen[r] != want[r]) { print r, seen[r]; bad = 1 } exit bad }' <(grep -v '^#' r.csv) <(grep -v '^#' s.csv)
}
ok "every step of every request is recorded once" whole
like "the summary names them" "$(cat run.out)" "update    epoch 1 from .* on: replicas.csv.update    epoch 2 from .* on: two.csv"
is "no line is longer than 80 columns" "$(grep -cE '^.{81,}' run.out)" 0
like "so does stderr" "$(cat run.err)" "orrery-run: replicas.csv is epoch 1 from "
exit_is 0 "a trace with epochs is read" orrery-sim check --predicted r.csv --real r.csv

# ---- what is refused, while the run goes on
begin_two --json
bad() { # NAME EXPECTED FILE
    exit_is 2 "$1 is refused" update "$3"
    like "$1: why" "$err" "$2"
}
sed 's/0-1,layer/0,layer/' two.csv > hole.csv
bad "a layer that is missing" "orrery-run update: hole.csv:[0-9]+:.*layer 1" hole.csv
sed 's/,d1,/,d7,/' two.csv > unknown.csv
bad "a device that is unknown" "orrery-run update: unknown.csv:4:4: device is 'd7': " unknown.csv
sed 's/^chat/mail/' two.csv > mail.csv
bad "a service that the run has not" "orrery-run update: mail.csv:2:1: service is 'mail': the run has no such service" mail.csv
sed 's/,tiny,/,other,/' two.csv > other.csv
bad "another model" "orrery-run update: other.csv:2:5: model is 'other': " other.csv
{ head -n 1 replicas.csv | sed 's/$/,epoch,from_s/' && sed '1d; s/$/,1,0.5/' replicas.csv; } > later.csv
bad "epochs of its own" "later.csv:2:" later.csv
printf 'service,replica,stage,device,executable\nchat,0,0,d0,box\n' > box.csv
bad "an executable" "orrery-run update: box.csv:2:5: executable is 'box': orrery-run executes models" box.csv
printf 'service,replica,stage,device,model,max_batch\nchat,0,0,d0,tiny,65000\n' > batched.csv
bad "batches that the run does not make" "orrery-run update: batched.csv:2:6: max_batch is '65000': " batched.csv
echo 'service,replica' > torn.csv
printf 'service,replica,stage,device,model\nchat,0,0,d0,tiny\n\0chat,1,0,d1,tiny\n' > nul.csv
bad "a NUL in it" "orrery-run update: nul.csv: has a NUL character" nul.csv
bad "where devices are those of the run, another one" "unknown.csv:4:4: device is 'd7': no such device in the run" unknown.csv
bad "what is no placement" "orrery-run update: torn.csv:1: missing column" torn.csv
bad "a file that is not there" "orrery-run update: none.csv: No such file" none.csv
ok "the run goes on" await_more 20
exit_is 0 "and takes one that can be" update replicas.csv
await_more 50
from_stdin() { timeout 30 orrery-run update --connect "127.0.0.1:$port" --placement - < two.csv; }
ok "one that is like one before, from stdin" from_stdin
await_more 50
finish
is "nothing was lost on the way" "$(ended | cut -d , -f 13 | uniq | xargs)" "0 1 2"
like "the summary as JSON" "$(tr -d ' \n' < run.out)" '"updates":\[\{"epoch":1,"from_s":[0-9.]+,"placement":"replicas.csv"\},\{"epoch":2,"from_s":[0-9.]+,"placement":"stdin"\}'
# each worker had two layers and one matrix of 512 x 64 (tied), and has loaded the other two: what was there is shared
is "matrices are held once" "$(tr -d ' \n' < run.out | grep -o '"weight_bytes":[0-9]*' | sort -u | wc -l)" 1

# ---- batches
begin_two --batch continuous:4
exit_is 0 "batches: an update is taken" update replicas.csv
await_more 60
exit_is 0 "batches: and one that cuts the sequence" update halves.csv
await_more 60
finish
is "batches: all epochs have had requests" "$(ended | cut -d , -f 13 | uniq | xargs)" "0 1 2"
begin_two --batch fixed:4:5ms
exit_is 0 "fixed batches: an update that cuts layers is taken" update halves.csv
await_more 60
finish
is "fixed batches: both epochs have had requests" "$(ended | cut -d , -f 13 | uniq | xargs)" "0 1"

# ---- padded devices
tiny_costs 20000 2
begin_two --costs costs --pad d0=2 --pad d1=2
exit_is 0 "padded devices: an update is taken" update replicas.csv
await_more 60
finish
padded() { # no step ends before it has taken twice its price: 0.94 ms of four layers, 0.44 ms or more of two
    awk -F, 'FNR == NR { if ($11 == "ok") e[$1] = $13; next }
        $1 in e && $8 == 2 && (!(e[$1] in least) || $7 - $6 < least[e[$1]]) { least[e[$1]] = $7 - $6 }
        END { print least[0], least[1]; exit !(least[0] >= 0.00088 && least[1] >= 0.00188) }' <(grep -v '^#' r.csv) <(grep -v '^#' s.csv)
}
ok "padded devices: the new stages are padded too" padded

# ---- failures
printf 'time_s,target,event\n4,d1,down\n4.1,d1,up\n' > drill.csv
begin_two --on-failure replay --events drill.csv
exit_is 0 "a drill: an update before it" update replicas.csv
await_line() { # FILE TEXT: within 20 s
    for ((n = 0; n < 200; n++)); do
        grep -q "$2" "$1" && return 0
        sleep 0.1
    done
    return 1
}
ok "a worker that comes back" await_line run.err "device 'd1': a worker is back"
await_more 50
finish
computed_late() { # on the device that came back, in the last epoch
    awk -F, -v d="$1" 'FNR == NR { if ($11 == "ok" && $13 == 1) e[$1]; next } $1 in e && $5 == d && $6 > 4.2 { n++ } END { exit !(n > 5) }' \
        <(grep -v '^#' r.csv) <(grep -v '^#' s.csv)
}
ok "has the stages of the update" computed_late d1

# ---- refused, and asked for again while a step waits for room behind its stage
tiny_models mid.csv "mid,decoder,8,512,8,8,64,2048,512,gelu,layer,learned,yes,32,32,256"
pressed() { # LAYERS: d1 has the others, and room for one step
    printf '%s\n' service,replica,stage,device,model,layers,block,queue_depth chat,0,0,d0,mid,,embed, "chat,0,0,d0,mid,$1,layer," \
        "chat,0,1,d1,mid,$((${1#*-} + 1))-7,layer,1" chat,0,1,d1,mid,,lm_head,1
}
pressed 0-0 > pressed.csv
pressed 0-1 > less.csv
{ load 0 && for ((i = 0; i < 3000; i++)); do echo "$i,,chat,64,4,c$((i % 6)),0.005"; done; } > six.csv
worker() { timeout 60 orrery-run worker --device "$1" --connect "127.0.0.1:$port" 2> "$1.err"; }
port=$((port + 1))
rm -f r.csv s.csv ./*.partial
worker d0 &
first=$!
worker d1 &
timeout 60 orrery-run --models mid.csv --placement pressed.csv --workload six.csv --listen "127.0.0.1:$port" \
    --requests-out r.csv --stages-out s.csv --on-failure replay --rejoin-wait 60s > run.out 2> run.err &
coordinator=$!
ok "a bounded queue: it runs" await_more 30
d1=$(pgrep -f "orrery-run worker --device d1 --connect 127.0.0.1:$port" -n)
kill -STOP "$d1"
exit_is 2 "an update that one worker does not load" update less.csv
like "is refused when that one is lost" "$err" "device 'd1' was lost"
kill -KILL "$d1"
worker d1 &
ok "it comes back" await_line run.err "device 'd1': a worker is back"
exit_is 0 "the update is taken now" update less.csv
await_more 20
finish
wait "$first"
is "the worker that had loaded it has gone on" "$? $(cat d0.err)" "0 "
is "requests went by both placements" "$(ended | cut -d , -f 13 | sort -u | xargs)" "0 1"

# ---- devices that the run had no use for so far
mkdir -p four
printf '%s\n' device,type d0,pc d1,pc d2,pc d3,pc > four/devices.csv
printf 'medium,kind,node,bits_per_s,latency_s\nlan,switch,*,1e9,0.0001\n' > four/links.csv
printf '%s\n' service,replica,stage,device,model chat,0,0,d2,tiny chat,1,0,d1,tiny > third.csv
sed 's/,d0,/,d3,/; s/,d1,/,d2,/' halves.csv > elsewhere.csv
begin_two --cluster four --costs costs --pad d0=2 --pad d1=2 --pad d2=2
exit_is 0 "an update with another device is taken" update third.csv
await_more 60
exit_is 0 "its worker is one of the run" timeout 20 orrery-run status --connect "127.0.0.1:$port"
like "and at work" "$out" "d2 +up "
exit_is 0 "a stage cut over one of those and another one" update elsewhere.csv
await_more 60
kill -9 "$(pgrep -P "$(pgrep -P $coordinator)" -f 'device=d2')"
ok "such a worker can be lost as any other" await_line run.err "device 'd2': worker lost: "
exit_is 2 "and is needed for the next update" update third.csv
like "which says so" "$err" "the worker of device 'd2' is not up"
finish
is "each epoch ran where it says" "$(places 0) $(places 1) $(places 2)" "0d0 1d1 0d1 0d2 0d2 0d3"
like "the summary has all workers" "$(cat run.out)" "d3: "

printf 'time_s,target,event\n0,d2,down\n6,d2,up\n' > drill.csv
begin_two --cluster four --events drill.csv
exit_is 2 "an update with a device that is down in a drill" update third.csv
like "is refused for that" "$err" "^orrery-run update: device 'd2' is down by --events since 0 s$"
up() { # within 20 s
    for ((n = 0; n < 100; n++)); do
        update third.csv && return 0
        sleep 0.2
    done
    return 1
}
ok "it is taken when that is up again" up
finish

worker() { timeout 60 orrery-run worker --device "$1" --connect "127.0.0.1:$port" "${@:2}" 2> "$1.err"; }
port=$((port + 1))
rm -f r.csv s.csv ./*.partial
worker d0 &
first=$!
worker d1 &
timeout 60 orrery-run --models models.csv --placement two.csv --workload long.csv --cluster four --wait 2s \
    --listen "127.0.0.1:$port" --requests-out r.csv --stages-out s.csv --on-failure replay --rejoin-wait 20s > run.out 2> run.err &
coordinator=$!
ok "workers on their own: it runs" await_more 20
exit_is 2 "an update whose worker does not come" update third.csv
like "is refused" "$err" "^orrery-run update: device 'd2': no worker has joined within 2.00 s$"
like "the run has said what to start" "$(cat run.err)" "the update needs a worker: orrery-run worker --device d2 --connect 127.0.0.1:$port"
ok "and goes on" await_more 20
exit_is 2 "a worker that no update awaits" worker d2
like "is turned away" "$(cat d2.err)" "device 'd2' is not in two.csv"
late() { # DEVICE...: they come when the update has been asked for
    timeout 30 orrery-run update --connect "127.0.0.1:$port" --placement "$placement" > late.out 2>&1 &
    local asked=$! device
    await_line run.err "the update needs a worker: orrery-run worker --device ${*: -1}" || return 1
    for device in "$@"; do worker "$device" & done
    wait "$asked"
}
# one of two comes, is set up, and is sent away again; its number goes to another device then
sed 's/,d0,/,d2,/; s/,d1,/,d3,/' two.csv > both.csv
placement=both.csv
late_one() { # the first of them alone
    timeout 30 orrery-run update --connect "127.0.0.1:$port" --placement both.csv > late.out 2>&1 &
    local asked=$!
    await_line run.err "worker --device d3" || return 1
    worker d2
    wait "$asked"
}
exit_is 2 "an update of which one worker of two comes" late_one
like "is refused for the other" "$(cat late.out)" "device 'd3': no worker has joined within 2.00 s"
like "and the first is sent away" "$(cat d2.err)" "the coordinator says: the update that needs it was refused"
sed 's/,d2,/,d3,/' third.csv > fourth.csv
placement=fourth.csv
: > run.err
exit_is 0 "an update whose worker comes" late d3
like "is taken" "$(cat late.out)" "^fourth.csv is epoch 1 from "
await_more 60
: > run.err
placement=third.csv
exit_is 0 "the other device later" late d2
await_more 60
d2=$(pgrep -f "orrery-run worker --device d2 --connect 127.0.0.1:$port" -n)
kill -9 "$d2"
ok "it is lost" await_line run.err "device 'd2': worker lost: "
worker d2 &
ok "and comes back" await_line run.err "device 'd2': a worker is back"
await_more 60
finish
wait "$first"
is "who was there at the start leaves with the run" "$? $(cat d0.err)" "0 "
is "the run went by three placements" "$(places 0) $(places 1) $(places 2)" "0d0 1d1 0d1 0d3 0d1 0d2"

# ---- when no update is possible
{ head -n 1 two.csv | sed 's/$/,epoch,from_s/' && sed '1d; s/$/,0,0/' two.csv && sed '1d; s/$/,1,500/' two.csv; } > epochs.csv
begin_two --placement epochs.csv
exit_is 2 "before an epoch of the file" update replicas.csv
like "says when" "$err" "epoch 1 of the placement is still to come: updates are taken from 500 s on"
finish
exit_is 2 "nobody there" timeout 20 orrery-run update --connect 127.0.0.1:1 --placement two.csv
like "nobody there: is said" "$err" "orrery-run update: no coordinator at 127.0.0.1:1"
orrery-run keys -o keys > keys.out
begin_two --keys keys
exit_is 2 "an update without the keys" update replicas.csv
like "is turned away" "$err" "orrery-run update: turned away: "
exit_is 0 "with them it is taken" update replicas.csv --keys keys
finish
exit_is 2 "an update of nothing" orrery-run update --connect 127.0.0.1:1
like "asks for what" "$err" "--placement is missing"


# ---- the run ends before the worker comes
port=$((port + 1))
rm -f r.csv s.csv ./*.partial
worker d0 &
worker d1 &
timeout 60 orrery-run --models models.csv --placement two.csv --workload long.csv --cluster four \
    --listen "127.0.0.1:$port" --requests-out r.csv --stages-out s.csv > run.out 2> run.err &
coordinator=$!
await_more 20
update third.csv > update.out 2> update.err &
asker=$!
ok "it waits for a worker that is new" await_line run.err "the update needs a worker"
kill -TERM "$(pgrep -P $coordinator)"
wait $coordinator
is "a run that ends meanwhile writes its files" "$? $(grep -c '^device' run.out)" "1 2"
ok "with what has ended" test "$(ended | wc -l)" -ge 20
wait $asker
is "and who waits is told" "$? $(cat update.err)" "2 orrery-run update: the run has ended before that"
like "as is the person" "$(cat run.err)" "an update was refused: the run has ended before that"
done_testing
