#!/bin/bash
# orrery-run with prompts and decoding on stages of their own: real workers on loopback, and the same files in
# orrery-sim. What is computed where, in which batches, and every message, KV caches among them, must agree.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
. "$(dirname "$0")/twins.sh"
. "$(dirname "$0")/long_run.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv "tiny-bert,encoder,2,64,4,4,16,256,512,gelu,layer,learned,no,32,32,64"
tiny_costs 20000 2 4 # a step of the whole model takes 0.94 ms, 122 to 254 ms on the boards of `slow`
tiny_cluster d0 d1 d2 d3
mkdir slow
cp cluster/links.csv slow
printf '%s\n' device,type,speed_ratio d0,pc,0.005 d1,pc,0.00625 d2,pc,0.0037 d3,pc,0.0077 > slow/devices.csv
head='service,replica,stage,device,model,layers,block,phase,parts'
cat > split.csv << END
$head
chat,0,0,d0,tiny,,embed,prefill,
chat,0,0,d0,tiny,0-2,layer,prefill,
chat,0,1,d1,tiny,3,layer,prefill,
chat,0,1,d1,tiny,,lm_head,prefill,
chat,0,0,d2,tiny,,embed,decode,
chat,0,0,d2,tiny,0,layer,decode,
chat,0,1,d3,tiny,1-3,layer,decode,
chat,0,1,d3,tiny,,lm_head,decode,
END
cat > crossed.csv << END
$head
chat,0,0,d0,tiny,,embed,prefill,
chat,0,0,d0,tiny,0-1,layer,prefill,
chat,0,1,d1,tiny,2-3,layer,prefill,
chat,0,1,d1,tiny,,lm_head,prefill,
chat,0,0,d1,tiny,,embed,decode,
chat,0,0,d1,tiny,0-2,layer,decode,
chat,0,1,d0,tiny,3,layer,decode,
chat,0,1,d0,tiny,,lm_head,decode,
END
cat > both.csv << END
$head
chat,0,0,d0,tiny,,embed,both,
chat,0,0,d0,tiny,0-1,layer,both,
chat,0,1,d1,tiny,2-3,layer,prefill,
chat,0,1,d1,tiny,,lm_head,prefill,
chat,0,1,d2,tiny,2-3,layer,decode,
chat,0,1,d2,tiny,,lm_head,decode,
END
printf '%s\n' $head chat,0,0,d0,tiny,,all,prefill, chat,0,0,d0,tiny,,all,decode, > local.csv
# KV heads: two devices of two each, then three of one, one and two; one of them has others of them already
cat > parts.csv << END
$head
chat,0,0,d0,tiny,,embed,prefill,
chat,0,0,d0,tiny,0-3,attn,prefill,0/2
chat,0,0,d1,tiny,0-3,attn,prefill,1/2
chat,0,0,d0,tiny,0-3,proj,prefill,0/2
chat,0,0,d1,tiny,0-3,proj,prefill,1/2
chat,0,0,d0,tiny,0-3,ffn,prefill,0/2
chat,0,0,d1,tiny,0-3,ffn,prefill,1/2
chat,0,0,d0,tiny,,lm_head,prefill,
chat,0,0,d2,tiny,,embed,decode,
chat,0,0,d2,tiny,0-3,attn,decode,0/4
chat,0,0,d1,tiny,0-3,attn,decode,1/4
chat,0,0,d3,tiny,0-3,attn,decode,2-3/4
chat,0,0,d2,tiny,0-3,proj,decode,
chat,0,0,d1,tiny,0-3,ffn,decode,0/2
chat,0,0,d3,tiny,0-3,ffn,decode,1/2
chat,0,0,d2,tiny,,lm_head,decode,
END
# cut inside a layer on either side, and few bits on the way between stages of prompts
cat > inside.csv << END
$head,wire_bits
chat,0,0,d0,tiny,,embed,prefill,,8
chat,0,0,d0,tiny,0-1,layer,prefill,,8
chat,0,0,d0,tiny,2,attn,prefill,,8
chat,0,1,d1,tiny,2,proj,prefill,,
chat,0,1,d1,tiny,2,ffn,prefill,,
chat,0,1,d1,tiny,3,layer,prefill,,
chat,0,1,d1,tiny,,lm_head,prefill,,
chat,0,0,d2,tiny,,embed,decode,,
chat,0,0,d2,tiny,0,layer,decode,,
chat,0,0,d2,tiny,1,attn,decode,,
chat,0,0,d2,tiny,1,proj,decode,,
chat,0,1,d3,tiny,1,ffn,decode,,
chat,0,1,d3,tiny,2-3,layer,decode,,
chat,0,1,d3,tiny,,lm_head,decode,,
END
{
    sed 's/^chat,0/chat,1/' both.csv
    sed '1d' local.csv
} > replicas.csv
# either phase with stages that have copies
half() { # STAGE DEVICE PHASE COPY: embed and layers 0-1, or layers 2-3 and the output matrix
    if [ "$1" = 0 ]; then
        printf '%s\n' "chat,0,0,$2,tiny,,embed,$3,$4" "chat,0,0,$2,tiny,0-1,layer,$3,$4"
    else
        printf '%s\n' "chat,0,1,$2,tiny,2-3,layer,$3,$4" "chat,0,1,$2,tiny,,lm_head,$3,$4"
    fi
}
{
    echo "${head%parts}copy"
    for row in "0 d0 prefill 0" "0 d1 prefill 1" "1 d2 prefill 0" "1 d3 prefill 1" "0 d2 decode 0" "0 d3 decode 1" \
        "1 d0 decode 0" "1 d1 decode 1" "1 d2 decode 2"; do
        # shellcheck disable=SC2086 # words
        half $row
    done
} > copies.csv
columns='request_id,arrival_s,service,prompt_tokens,output_tokens'
printf '%s\n' $columns 1,0,chat,16,5 2,0.01,chat,31,3 3,0.02,chat,1,2 4,0.03,chat,9,1 > load.csv
load() { # FIRST_MS EVERY_MS COUNT
    local i at
    echo $columns
    for ((i = 0; i < $3; i++)); do
        at=$(($1 + $2 * i))
        echo "$i,$((at / 1000)).$(printf %03d $((at % 1000))),chat,$((8 + 7 * i % 30)),$((1 + 3 * i % 4))"
    done
}
load 20 71 9 > spread.csv # no decision changes when links or boards are some ms slower
load 20 29 9 > dense.csv

run() { timeout 60 orrery-run --models models.csv --local "$@"; }
simulate() { # CLUSTER PLACEMENT LOAD OPTION...
    orrery-sim run --models models.csv --cluster "$1" --costs costs -p "$2" -w "$3" "${@:4}" --requests-out sim-r.csv \
        --stages-out sim-s.csv --transfers-out sim-t.csv > sim.out
}
agrees() { # NAME PLACEMENT OPTION...: whatever the times are
    exit_is 0 "$1" run --cluster cluster -p "$2" -w load.csv "${@:3}" "${outs[@]}"
    exit_is 0 "$1, predicted" simulate cluster "$2" load.csv "${@:3}"
    is "$1: the same requests" "$(statuses r.csv)" "$(statuses sim-r.csv)"
    is "$1: the same steps" "$(stages s.csv)" "$(stages sim-s.csv)"
    is "$1: the same messages" "$(transfers t.csv)" "$(transfers sim-t.csv)"
}
sent_before_received() { body t.csv | awk -F, '$8 > $9 { print; bad = 1 } END { exit bad }'; }

agrees "pipelines of other cuts" split.csv
ok "nothing is received before it is sent" sent_before_received
is "a prompt's cache goes once, to where its layers are" "$(body t.csv | grep '^1,1,,d[01],d[23]' | cut -d, -f 4-7 | sort | xargs)" \
    "d0,d2,lan,8192 d0,d3,lan,16384 d1,d3,lan,8192"
is "of a request of one token none does" "$(body t.csv | grep -c '^4,.*,d[01],d[23],')" 0
agrees "the same devices the other way round" crossed.csv
agrees "rows of both phases" both.csv
is "rows of messages stand in the same order" "$(body t.csv | cut -d, -f 1-7)" "$(body sim-t.csv | cut -d, -f 1-7)"
agrees "both phases on one device" local.csv
is "nothing goes anywhere" "$(body t.csv | grep -vc source)" 0
for how in ring star; do
    agrees "stages on several devices, by $how" parts.csv --collective $how
done
agrees "cuts inside layers, and few bits" inside.csv
agrees "replicas" replicas.csv --dispatch round-robin
for how in round-robin random sticky; do
    agrees "copies of stages, $how" copies.csv --dispatch $how
done
sed 's/^service.*/&,queue_depth/; s/^chat.*/&,1/' split.csv > bounded.csv
agrees "bounded queues" bounded.csv

# decisions: devices are so slow that none hangs on which of two things came first
same() { # PLACEMENT LOAD OPTION...
    simulate slow "$@" || return 1
    soon_alike run --cluster slow -p "$1" -w "$2" "${@:3}" --costs costs "${pads[@]}"
}
pads=(--pad d0=200 --pad d1=160 --pad d2=270.27 --pad d3=129.87)
sizes() { # STEP: of the batches in the first stage that have somebody in that step
    body s.csv | awk -F, -v step="$1" '$4 == 0 && $8 == step { n[$9]++ } END { for (b in n) print n[b] }' | sort -n | xargs
}
ok "padded steps: the same as predicted" same split.csv spread.csv
before() { # the cache of the first goes while the prompt of the second is computed
    awk -F, 'FNR == NR { if ($1 == 1 && $8 == 0 && $5 == "d0") end = $7; next }
        $1 == 0 && $4 == "d0" && $5 ~ /d[23]/ { seen++; late += $9 > end } END { exit !(seen > 0 && late == 0) }' <(body s.csv) <(body t.csv)
}
printf '%s\n' $columns 0,0,chat,16,3 1,0.01,chat,16,3 > two.csv
printf '%s\n' $head chat,0,0,d0,tiny,,all,prefill, chat,0,0,d2,tiny,,all,decode, > plain.csv
pads=(--pad d0=500)
ok "two prompts on one device" run --cluster cluster -p plain.csv -w two.csv --costs costs "${pads[@]}" "${outs[@]}"
ok "caches travel while it computes" before
pads=(--pad d0=200 --pad d1=160 --pad d2=270.27 --pad d3=129.87)
ok "fixed batches" same split.csv spread.csv --batch fixed:3:150ms
like "go on as one" "$(sizes 1)" "[23]$"
pads=(--pad d0=200 --pad d1=160 --pad d2=270.27)
ok "fixed batches of rows of both phases" same both.csv spread.csv --batch fixed:2:100ms
pads=(--pad d0=200)
ok "continuous batches of both phases on one device" same local.csv spread.csv --batch continuous:3
pads=(--pad d0=200 --pad d1=160 --pad d2=270.27 --pad d3=129.87)
ok "continuous batches" same split.csv spread.csv --batch continuous:3
ok "with few blocks: some wait for them, some are computed anew" same split.csv spread.csv --batch continuous:4:32 --kv-block 4 --kv-blocks 10
like "they are" "$(body sim-s.csv | awk -F, '$4 == 0 && $5 == "d2" && $10 == "prefill"' | wc -l)" "^[1-9]"
sed 's/^service.*/&,max_batch/; /prefill/s/$/,1/; /decode/s/$/,4/' split.csv > own.csv
ok "batches of other sizes in either phase" same own.csv spread.csv --batch continuous:2
like "several requests are decoded at once" \
    "$(body s.csv | awk -F, '$4 == 0 && $8 > 0 { n[$9]++ } END { for (b in n) print n[b] }' | sort -n | tail -n 1)" "[2-4]"
is "prompts one by one" "$(sizes 0 | tr ' ' '\n' | sort -u)" 1
ok "continuous batches on several devices" same parts.csv dense.csv --batch continuous:3
ok "fixed batches on several devices" same parts.csv dense.csv --batch fixed:3:100ms

# failures, workers that come back, another placement
{ echo "$columns,client,think_s" && for ((i = 0; i < 4000; i++)); do echo "$i,,chat,$((8 + i % 9)),$((1 + i % 5)),c$((i % 6)),0.005"; done; } > long.csv
drill() { # NAME OPTION...: a device of either phase is lost, and comes back
    begin -p split.csv --on-failure replay --events drill.csv "${@:2}"
    for ((n = 0; n < 200; n++)); do
        [ "$(grep -c "is back" run.err)" -eq 2 ] && break
        sleep 0.05
    done
    sleep 0.5
    like "$1: a partial table of messages has caches" "$(cat t.csv.partial)" ",d0,d2,,"
    finish
    is "$1: what was lost is replayed" "$(body r.csv | awk -F, '$11 == "ok"' | sort -t , -k 1n |
        awk -F, '$1 - last > 7 { bad = 1 } { last = $1 } END { print bad + 0 }')" 0
    ok "$1: every step is there once, in its phase" whole
}
whole() {
    awk -F, 'FNR == NR { if ($11 == "ok") want[$1] = 2 * $9; next }
        $1 in want { seen[$1]++; if (($8 == 0) != ($5 == "d0" || $5 == "d1")) other = 1 }
        END { for (r in want) if (seen[r] != want[r]) { print r, seen[r], want[r]; bad = 1 } exit bad || other }' <(body r.csv) <(body s.csv)
}
printf 'time_s,target,event\n0.5,d1,down\n0.8,d1,up\n1.4,d3,down\n1.7,d3,up\n' > drill.csv
drill "one by one"
drill "fixed batches" --batch fixed:3:2ms
drill "continuous batches" --batch continuous:4
printf 'time_s,target,event\n0.5,d3,down\n' > last.csv
exit_is 1 "a device that stays away" timeout 60 orrery-run --models models.csv --local -w long.csv -p split.csv --events last.csv "${outs[@]}"
is "its requests have failed" "$(body r.csv | cut -d, -f 11 | sort -u | xargs)" "failed ok"
printf '%s\n' "${head%,parts}" chat,0,0,d0,tiny,,all, chat,1,0,d1,tiny,,all, chat,2,0,d2,tiny,,all, chat,3,0,d3,tiny,,all, > apart.csv
for options in "" "--batch fixed:3:2ms" "--batch continuous:4"; do
    # shellcheck disable=SC2086 # words
    begin -p apart.csv $options
    exit_is 0 "an update to phases ($options)" timeout 30 orrery-run update --connect "127.0.0.1:$port" --placement split.csv
    sleep 0.4
    exit_is 0 "and the other way round ($options)" timeout 30 orrery-run update --connect "127.0.0.1:$port" --placement apart.csv
    exit_is 0 "the status of it" timeout 30 orrery-run status --connect "127.0.0.1:$port"
    sleep 0.4
    finish
    is "all three have had requests ($options)" "$(body r.csv | awk -F, '$11 == "ok" { print $13 }' | sort -u | xargs)" "0 1 2"
done

# memory of the stages that decode: of a request that is as long as there is room for, the budget of a worker takes one cache.
# None is touched beyond what is computed.
available=$(awk '$1 == "MemAvailable:" { print $2 * 1024 }' /proc/meminfo)
read -r dim longest <<< "$(awk -v m="$available" 'BEGIN { # a third of the memory; two workers share it
    for (tokens = 1; tokens * 2 * 128 * 16 <= m / 3; tokens *= 2) continue
    print 2 * int(m / 3 / (256 * tokens)), tokens }')"
tiny_models wide.csv "wide,decoder,4,64,4,4,$dim,256,512,gelu,layer,rope,yes,32,32,$longest"
sed '/tiny/!b; s/tiny/wide/' plain.csv > wide-plain.csv
printf '%s\n' $columns 0,0,chat,8,3000 1,0.05,chat,8,$((longest - 8)) 2,0.06,chat,8,1 > wide-load.csv
exit_is 0 "a cache that there is no room for" timeout 60 orrery-run --models wide.csv --local -p wide-plain.csv -w wide-load.csv "${outs[@]}"
is "its request is refused" "$(body r.csv | sort -n | cut -d, -f 11 | xargs)" "ok refused ok"
is "nothing is missing" "$(grep records <<< "$err")" ""

printf '%s\n' "${head%,parts}" text,0,0,d0,tiny-bert,,all,prefill text,0,0,d1,tiny-bert,,all,decode > bert.csv
exit_is 2 "an encoder has no phases" run -p bert.csv -w load.csv "${outs[@]}"
like "the row is named" "$err" "bert.csv:2:8: phase is 'prefill': model 'tiny-bert' is no decoder"
done_testing
