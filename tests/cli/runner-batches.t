#!/bin/bash
# orrery-run with continuous batches: real workers on loopback, and the same files in orrery-sim. Which
# requests compute how much in which batch, and every message, must agree; times need not.
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
sed 's/^service.*/&,max_batch/; s/^chat.*/&,2/' one.csv > least.csv
cat > load.csv << 'END'
request_id,arrival_s,service,prompt_tokens,output_tokens
1,0,chat,16,8
2,0,chat,32,4
3,0,chat,8,1
4,0,chat,20,9
5,0,chat,12,9
6,0,chat,40,3
7,0,chat,200,100
END
tiny_cluster d0 d1
tiny_costs 20000

run() { timeout 30 orrery-run --models models.csv --cluster cluster --local "$@"; }
stages() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-5,8- | sort; }
transfers() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-7 | sort; }
statuses() { grep -v '^#' "$1" | cut -d, -f 1,11; }
outs=(--requests-out r.csv --stages-out s.csv --transfers-out t.csv)
agrees() { # NAME PLACEMENT LOAD OPTION...
    local name=$1 placement=$2 load=$3
    shift 3
    exit_is 0 "$name" run -p "$placement" -w "$load" "$@" "${outs[@]}"
    exit_is 0 "$name, predicted" orrery-sim run --models models.csv --cluster cluster --costs costs -p "$placement" \
        -w "$load" "$@" --requests-out sim-r.csv --stages-out sim-s.csv --transfers-out sim-t.csv
    is "$name: the same batches" "$(stages s.csv)" "$(stages sim-s.csv)"
    is "$name: the same messages" "$(transfers t.csv)" "$(transfers sim-t.csv)"
    is "$name: the same requests end well" "$(statuses r.csv)" "$(statuses sim-r.csv)"
}
agrees "batches on one device" one.csv load.csv --batch continuous:4:24
agrees "batches in a pipeline" two.csv load.csv --batch continuous:3:24
agrees "whole prompts" one.csv load.csv --batch continuous:4:64 --chunked-prefill off
agrees "blocks that run out" one.csv load.csv --batch continuous:4 --kv-block 4 --kv-blocks 13
like "the simulator says that somebody was preempted" "$out" "preempted  [1-9]"
agrees "blocks that run out in a pipeline" two.csv load.csv --batch continuous:3 --kv-block 4 --kv-blocks 14
like "there too" "$out" "preempted  [1-9]"
agrees "max_batch of a row takes the place of SEQS" least.csv load.csv --batch continuous:8:24
is "no batch is larger" "$(grep -v '^#' s.csv | tail -n +2 | cut -d, -f 9 | sort | uniq -c | awk '$1 > 2' | wc -l)" 0
# Who sends the next request at the instant at which a batch ends is in the next batch.
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s'
    for i in {0..23}; do echo "$i,,chat,$((8 + 5 * i % 17)),$((2 + 3 * i % 7)),c$((i % 3)),0"; done
} > closed.csv
agrees "clients that do not think" one.csv closed.csv --batch continuous:3:24
agrees "clients that do not think, in a pipeline" two.csv closed.csv --batch continuous:3:24
printf 'service,replica,stage,device,model\ntext,0,0,d0,tiny-bert\n' > bert.csv
printf 'request_id,arrival_s,service,prompt_tokens\n0,0,text,20\n1,0,text,17\n2,0,text,5\n3,0,text,60\n' > text.csv
agrees "encoders" bert.csv text.csv --batch continuous:3:64
exit_is 0 "few blocks" run -p one.csv -w load.csv --batch continuous:4 --kv-block 4 --kv-blocks 8 "${outs[@]}"
is "requests that no replica could compute alone are refused" "$(grep ',refused,' r.csv | cut -d, -f 1 | xargs)" "2 6 7"

cat > replicas.csv << 'END'
service,replica,stage,device,model
chat,0,0,d0,tiny
chat,1,0,d1,tiny
END
exit_is 0 "two replicas" run -p replicas.csv -w load.csv --batch continuous:2 --dispatch round-robin "${outs[@]}"
is "each has its requests" "$(grep -v '^#' r.csv | tail -n +2 | cut -d, -f 3 | xargs)" "0 1 0 1 0 1"

# A step lasts as long as the table says: 47 operators of 20 us, and attention once more for the other.
printf 'request_id,arrival_s,service,prompt_tokens,output_tokens\n0,0,chat,16,20\n1,0,chat,16,20\n' > pair.csv
exit_is 0 "padded batches" run -p one.csv -w pair.csv --batch continuous:2 --costs costs --pad d0=5 "${outs[@]}"
shortest=$(grep -v '^#' s.csv | awk -F, 'NR > 1 { print $7 - $6 }' | sort -g | head -n 1)
like "a step lasts ratio x price" "$shortest" "^0.0051"
is "and is one for both" "$(grep -v '^#' s.csv | tail -n +2 | cut -d, -f 6 | sort -u | wc -l)" 20

{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s'
    for ((i = 0; i < 4000; i++)); do echo "$i,,chat,16,8,c$((i % 3)),0.005"; done
} > long.csv
timeout 30 orrery-run --models models.csv --local -p two.csv -w long.csv --batch continuous:4 "${outs[@]}" > long.out 2> long.err &
runner=$!
for ((i = 0; i < 200; i++)); do # until the load has begun, however busy the machine is
    grep -qs 'have joined' long.err && break
    sleep 0.05
done
sleep 0.5
kill -9 "$(pgrep -P "$(pgrep -P $runner)" | tail -n 1)"
wait $runner
is "a worker dies: exit 1" "$? $(grep -c 'worker lost' long.err)" "1 1"
is "all requests have ended" "$(grep -cE ',(ok|failed),' r.csv)" 4000
ok "some of them well" test "$(grep -c ',ok,' r.csv)" -gt 10

usage() { # NAME EXPECTED ARGUMENT...
    local name=$1 expected=$2
    shift 2
    exit_is 2 "$name" run -p one.csv -w load.csv "$@" "${outs[@]}"
    like "$name: is explained" "$err" "$expected"
}
usage "blocks without batches" "are of --batch continuous" --kv-blocks 4
usage "a budget below SEQS" "TOKEN_BUDGET is 2: expected at least MAX_SEQS, 4" --batch continuous:4:2
usage "more requests than a frame names" "MAX_SEQS is 32768: expected at most 32767 in a run" --batch continuous:32768

# ---- stages on several devices, and of parts of layers
halve() { # STAGE LAYERS DEVICE DEVICE: halves of attention, projection and FFN; norms and additions are whole
    local block
    for block in attn proj ffn; do
        echo "chat,0,$1,$3,tiny,$2,$block,0/2"
        echo "chat,0,$1,$4,tiny,$2,$block,1/2"
    done
}
columns=service,replica,stage,device,model,layers,block,parts
{ echo $columns && echo chat,0,0,d0,tiny,,embed, && halve 0 0-3 d0 d1 && echo chat,0,0,d0,tiny,,lm_head,0/2 && echo chat,0,0,d1,tiny,,lm_head,1/2; } > halves.csv
{ echo $columns && echo chat,0,0,d0,tiny,,embed, && halve 0 0-1 d0 d1 && halve 1 2-3 d2 d3 && echo chat,0,1,d2,tiny,,lm_head,; } > both.csv
printf '%s\n' service,replica,stage,device,model,layers,block,parts chat,0,0,d0,tiny,,embed, chat,0,0,d0,tiny,0,layer, \
    chat,0,0,d0,tiny,1,attn, chat,0,1,d1,tiny,1,proj, chat,0,1,d1,tiny,1,ffn, chat,0,1,d1,tiny,2-3,layer, \
    chat,0,1,d1,tiny,,lm_head, > inside.csv
tiny_cluster d0 d1 d2 d3
tiny_costs 20000 2
agrees "two devices that share all layers" halves.csv load.csv --batch continuous:4:24
agrees "they, exchanging by a star" halves.csv load.csv --batch continuous:3 --collective star
agrees "blocks that run out there" halves.csv load.csv --batch continuous:4 --kv-block 4 --kv-blocks 13
like "somebody was preempted" "$out" "preempted  [1-9]"
agrees "a border inside a layer" inside.csv load.csv --batch continuous:3:24
agrees "two stages of two devices" both.csv load.csv --batch continuous:3:24
sed 's/^service.*/&,wire_bits/; s/^chat.*/&,/; s/^chat,0,0,.*/&8/' both.csv > few.csv
agrees "few bits between them" few.csv load.csv --batch continuous:3:24
exit_is 0 "padded pieces of batches" run -p halves.csv -w pair.csv --batch continuous:2 --costs costs --pad d0=5 --pad d1=5 "${outs[@]}"
is "steps are shared" "$(grep -v '^#' s.csv | tail -n +2 | cut -d, -f 5,8 | sort | uniq -c | awk '$1 != 2' | wc -l)" 0
{ echo $columns && echo chat,0,0,d0,tiny,,embed, && echo chat,0,0,d0,tiny,0-3,layer,0/2 && echo chat,0,0,d1,tiny,0-3,layer,1/2 &&
    echo chat,0,0,d0,tiny,,lm_head,; } > conn.csv
agrees "ranges of the sequence: the last tokens lie all over them" conn.csv load.csv --batch continuous:4:24
is "all of the hidden state comes to the output matrix" "$(grep -v '^#' sim-t.csv | awk -F, '$2 == 0 && $4 == "d1" && $3 == 0 { print $7 }' | tail -n 1)" 3072
sed 's,lm_head\,$,lm_head\,0/2,' conn.csv > heads.csv
echo chat,0,0,d1,tiny,,lm_head,1/2 >> heads.csv
agrees "of which the output matrix has a part on each device" heads.csv load.csv --batch continuous:3
agrees "by a star" heads.csv load.csv --batch continuous:3:16 --collective star
agrees "blocks that run out where the sequence is cut" conn.csv load.csv --batch continuous:4 --kv-block 4 --kv-blocks 13
agrees "a request at a time" conn.csv load.csv --batch continuous:1
{ echo $columns && echo chat,0,0,d0,tiny,,embed, && echo chat,0,0,d0,tiny,0-1,layer,0/2 && echo chat,0,0,d1,tiny,0-1,layer,1/2 &&
    echo chat,0,1,d2,tiny,2-3,layer,0/2 && echo chat,0,1,d3,tiny,2-3,layer,1/2 && echo chat,0,1,d3,tiny,,lm_head,; } > conns.csv
agrees "in a pipeline" conns.csv load.csv --batch continuous:3:24

done_testing
