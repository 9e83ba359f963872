#!/bin/bash
# orrery-run with fixed batches on stages of several devices and of parts of layers, and behind bounded queues: the
# same batches and messages as in orrery-sim.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
. "$(dirname "$0")/twins.sh"
. "$(dirname "$0")/fixed.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv "tiny-bert,encoder,4,64,4,4,16,256,512,gelu,layer,learned,no,32,32,64"
slow_cluster d0 d1 d2 d3
{ echo $head && load chat 20 38 8; } > load.csv
next=0
{ echo $head && load text 20 53 8; } | cut -d, -f 1-4 > text.csv
closed_load | head -n 13 > closed.csv
printf '%s\n' $head 0,0.05,chat,10,2 1,0.07,chat,20,4 2,0.09,chat,6,1 > three.csv

# ---- stages on several devices, and of parts of layers
columns=service,replica,stage,device,model,layers,block,parts
halve() { # STAGE LAYERS DEVICE DEVICE: halves of attention, projection and FFN; norms and additions are whole
    local block
    for block in attn proj ffn; do
        echo "chat,0,$1,$3,tiny,$2,$block,0/2"
        echo "chat,0,$1,$4,tiny,$2,$block,1/2"
    done
}
{ echo $columns && echo chat,0,0,d0,tiny,,embed, && halve 0 0-3 d0 d1 && echo chat,0,0,d0,tiny,,lm_head,0/2 && echo chat,0,0,d1,tiny,,lm_head,1/2; } > halves.csv
{ echo $columns && echo chat,0,0,d0,tiny,,embed, && echo chat,0,0,d0,tiny,0-3,layer,0/2 && echo chat,0,0,d1,tiny,0-3,layer,1/2 &&
    echo chat,0,0,d1,tiny,,lm_head,; } > conn.csv
{ echo $columns && echo chat,0,0,d0,tiny,,embed, && halve 0 0-1 d0 d1 && halve 1 2-3 d2 d3 && echo chat,0,1,d2,tiny,,lm_head,; } > both.csv
{ echo $columns && echo chat,0,0,d0,tiny,,embed, && echo chat,0,0,d0,tiny,0-1,layer, && halve 1 2-3 d1 d2 && echo chat,0,1,d1,tiny,,lm_head,; } > behind.csv
printf '%s\n' $columns chat,0,0,d0,tiny,,embed, chat,0,0,d0,tiny,0,layer, chat,0,0,d0,tiny,1,attn, chat,0,1,d1,tiny,1,proj, \
    chat,0,1,d1,tiny,1,ffn, chat,0,1,d1,tiny,2-3,layer, chat,0,1,d1,tiny,,lm_head, > inside.csv
sed 's/,tiny/,tiny-bert/; s/^chat/text/; /lm_head,1/d; s,lm_head\,0/2,lm_head\,,' halves.csv > bert-halves.csv
sed 's/,tiny/,tiny-bert/; s/^chat/text/' conn.csv > bert-conn.csv
tiny_costs 20000 2
pads=(--pad d1=200)
ok "two devices that share all layers" same halves.csv load.csv --batch fixed:3
like "in batches of several sizes" "$(sizes s.csv)" "^1 .*3$"
ok "with a wait" same halves.csv load.csv --batch fixed:3:150ms
ok "exchanging by a star" same halves.csv load.csv --batch fixed:3:150ms --collective star
ok "three that leave one by one" same halves.csv three.csv --batch fixed:3:200ms
ok "clients that do not think" same halves.csv closed.csv --batch fixed:3
like "fill batches" "$(sizes s.csv)" "3 3 3$"
ok "ranges of the sequence" same conn.csv load.csv --batch fixed:3:150ms
ok "encoders" same bert-halves.csv text.csv --batch fixed:4:40ms
ok "encoders whose sequence is cut" same bert-conn.csv text.csv --batch fixed:4:40ms
ok "a border inside a layer" same inside.csv load.csv --batch fixed:2:50ms
{ cat inside.csv && tail -n +2 inside.csv | sed 's/^chat,0,0,d0/chat,1,0,d1/; s/^chat,0,1,d1/chat,1,1,d0/'; } > cross.csv
ok "whose halves wait for those of another replica" same cross.csv load.csv --batch fixed:2:150ms --dispatch round-robin
pads=(--pad d1=200 --pad d2=200)
ok "behind a stage of one device" same behind.csv load.csv --batch fixed:3:100ms
pads=(--pad d1=200 --pad d2=200 --pad d3=200)
ok "two stages of two devices" same both.csv load.csv --batch fixed:2:50ms
sed 's/^service.*/&,wire_bits/; s/^chat.*/&,/; s/^chat,0,0,.*/&8/' both.csv > few.csv
ok "few bits between them" same few.csv load.csv --batch fixed:2:50ms

# ---- bounded queues in front of them: as many requests as the batches that there is room for have
deep() { sed "s/^service.*/&,queue_depth/; s/^chat.*/&,/; s/^chat,0,0,.*/&$2/" "$1"; }
printf '%s\n' service,replica,stage,device,model chat,0,0,d0,tiny > one.csv
tiny_pipeline two.csv
deep one.csv 1 > bounded.csv
deep two.csv 1 > bounded-two.csv
deep halves.csv 1 > bounded-halves.csv
next=0
{ echo $head && load chat 100 9 10; } > burst.csv
early() { body "$1" | awk -F, '$4 == "source" && $2 == 0 && $8 < 0.26' | wc -l; }
pads=()
ok "a bounded queue of stage 0" same bounded.csv burst.csv --batch fixed:3
is "the first request begins at once, and three wait for it; the others are kept" "$(early t.csv) $(early sim-t.csv)" "4 4"
ok "with a wait" same bounded.csv load.csv --batch fixed:2:100ms
ok "and clients that do not think" same bounded.csv closed.csv --batch fixed:3
pads=(--pad d1=200)
ok "of a pipeline" same bounded-two.csv burst.csv --batch fixed:2:50ms
ok "of a stage of two devices" same bounded-halves.csv burst.csv --batch fixed:3
is "which keeps others, too" "$(early t.csv) $(early sim-t.csv)" "4 4"

# ---- failures: every device of a pipeline of two such stages, behind bounded queues, is lost and comes back
{ echo $columns,queue_depth && echo chat,0,0,d0,tiny,,embed,,1 && echo chat,0,0,d0,tiny,0-1,layer,0/2,1 &&
    echo chat,0,0,d1,tiny,0-1,layer,1/2,1 && echo chat,0,1,d2,tiny,2-3,layer,0/2,2 && echo chat,0,1,d3,tiny,2-3,layer,1/2,2 &&
    echo chat,0,1,d3,tiny,,lm_head,,2; } > conns.csv
next=0
{ echo $head && load chat 10 6 400; } > long.csv
printf '%s\n' time_s,target,event 0.3,d1,down 0.5,d1,up 0.8,d0,down 1,d0,up 1.3,d3,down 1.5,d3,up 1.8,d2,down 2,d2,up > drill.csv
exit_is 0 "every device is lost once" run -p conns.csv -w long.csv --batch fixed:4:2ms --on-failure replay --events drill.csv "${outs[@]}"
is "all come back" "$(grep -c "is back" <<< "$err")" 4
is "all requests end well" "$(body r.csv | awk -F, '$11 == "ok"' | wc -l)" 400
is "every step is there once, on each device" "$(body s.csv | awk -F, '
    FNR == NR { want[$1] = $9; next } { seen[$1 "," $5]++ } END { for (r in want) for (d = 0; d < 4; d++) bad += seen[r ",d" d] != want[r]; print bad + 0 }
    ' <(body r.csv) -)" 0
is "no batch is larger" "$(body s.csv | awk -F, '$5 == "d2" { n[$9 "," $8]++ } END { for (b in n) if (n[b] > most) most = n[b]; print most }')" 4

# ---- memory: of all batches that may be under way, before anything starts
printf '%s\n' "$(head -n 1 models.csv)" "long,decoder,4,64,4,4,16,256,512,gelu,layer,rope,yes,32,32,4000000" > long-models.csv
sed 's/,tiny/,long/' two.csv > long-two.csv
next=0
{ echo $head && load chat 10 1 400 && echo 400,1,chat,8,1000000; } > deep.csv # 1 GiB and more for the longest one, in each stage
for batch in fixed:256 continuous:300; do
    exit_is 2 "$batch: caches that no machine holds" timeout 30 orrery-run --models long-models.csv --cluster cluster --local \
        -p long-two.csv -w deep.csv --batch $batch "${outs[@]}"
    like "$batch: it says so before a worker starts" "$err" "need [0-9.]* [GT]iB of memory together, [0-9.]* [GT]iB of it for KV caches: only"
done
done_testing
