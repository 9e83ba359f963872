#!/bin/bash
# orrery-run with fixed batches: real workers on loopback, and the same files in orrery-sim. Who leaves with whom, and
# every message, must agree; times need not, but devices are so slow that no decision hangs on them.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
. "$(dirname "$0")/twins.sh"
. "$(dirname "$0")/fixed.sh"
. "$(dirname "$0")/long_run.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv "tiny-bert,encoder,4,64,4,4,16,256,512,gelu,layer,learned,no,32,32,64"
printf '%s\n' service,replica,stage,device,model chat,0,0,d0,tiny > one.csv
tiny_pipeline two.csv
sed 's/^service.*/&,max_batch/; s/^chat.*/&,2/' one.csv > least.csv
sed 's/,tiny/,tiny-bert/; s/^chat/text/' two.csv > bert.csv
printf '%s\n' service,replica,stage,device,model chat,0,0,d0,tiny chat,1,0,d1,tiny > replicas.csv
tiny_costs 20000
slow_cluster d0 d1
# Arrivals up to 12 ms late make the same batches.
{ echo $head && load chat 20 38 10; } > load.csv
next=0
{ echo $head && load text 20 53 10; } | cut -d, -f 1-4 > text.csv

pads=()
ok "one device: the same batches as predicted" same one.csv load.csv --batch fixed:3
like "of several sizes" "$(sizes s.csv)" "^1 .*3$"
ok "with a wait" same one.csv load.csv --batch fixed:3:150ms
like "which makes them larger" "$(sizes s.csv)" "3 3 3"
ok "max_batch of a row asks for them" same least.csv load.csv
is "and takes the place of N" "$(sizes s.csv | tr ' ' '\n' | sort -n | tail -n 1)" 2
pads=(--pad d1=200)
ok "a pipeline: as many batches are under way as it has stages" same two.csv load.csv --batch fixed:2:50ms
ok "encoders in a pipeline: one pass, any number of batches" same bert.csv text.csv --batch fixed:4:40ms
ok "two replicas" same replicas.csv load.csv --batch fixed:3:100ms --dispatch round-robin

closed_load > closed.csv
pads=()
ok "clients that do not think" same one.csv closed.csv --batch fixed:3
like "fill batches" "$(sizes s.csv)" "3 3 3 3"
pads=(--pad d1=200)
ok "clients that do not think, in a pipeline" same two.csv closed.csv --batch fixed:3:1ms

# who has all its tokens leaves, nobody joins; what is left counts as the longest of it
printf '%s\n' $head 0,0.05,chat,10,2 1,0.07,chat,20,4 2,0.09,chat,6,1 > three.csv
pads=()
ok "three that leave one by one" same one.csv three.csv --batch fixed:3:200ms
is "they do" "$(body s.csv | sort -t, -k 8n | cut -d, -f 8 | uniq -c | xargs)" "3 0 2 1 1 2 1 3"
is "their steps are one batch" "$(body s.csv | cut -d, -f 9 | sort -u)" 0
is "each has its own prompt" "$(body t.csv | awk -F, '$4 == "source" && $2 == 0 { print $7 }' | sort -n | xargs)" "24 40 80"

# failures and updates
{ echo "$head,client,think_s" && for ((i = 0; i < 4000; i++)); do echo "$i,,chat,16,$((1 + i % 5)),c$((i % 6)),0.005"; done; } > long.csv
printf 'time_s,target,event\n0.5,d1,down\n0.8,d1,up\n1.2,d0,down\n1.5,d0,up\n' > drill.csv
begin --batch fixed:4:2ms -p two.csv --on-failure replay --events drill.csv
for ((n = 0; n < 200; n++)); do
    [ "$(grep -c "is back" run.err)" -eq 2 ] && break
    sleep 0.05
done
sleep 0.5
finish
ended() { body r.csv | awk -F, '$11 == "ok"' | sort -t , -k 1n; }
is "batches that were lost are replayed" "$(ended | awk -F, '$1 - last > 7 { bad = 1 } { last = $1 } END { print bad + 0 }')" 0
whole() { # each step once in each stage
    awk -F, 'FNR == NR { if ($11 == "ok") want[$1] = 2 * $9; next } $1 in want { seen[$1]++ }
        END { for (r in want) if (seen[r] != want[r]) { print r, seen[r], want[r]; bad = 1 } exit bad }' <(body r.csv) <(body s.csv)
}
ok "every step is there once" whole
is "batches of a worker that has come back have numbers of their own" "$(body s.csv | awk -F, '$4 == 0 && $8 == 0 {
    if (!($9 in first) || $6 < first[$9]) first[$9] = $6; if ($6 > last[$9]) last[$9] = $6 }
    END { for (b in first) if (last[b] != first[b]) n++; print n + 0 }')" 0
begin --batch fixed:4:2ms -p two.csv
exit_is 0 "an update of a run with batches" timeout 30 orrery-run update --connect "127.0.0.1:$port" --placement replicas.csv
sleep 0.5
finish
is "both epochs have had requests" "$(ended | cut -d, -f 13 | sort -u | xargs)" "0 1"
ok "in batches" test "$(body s.csv | cut -d, -f 4,8,9 | sort | uniq -c | awk '$1 > 1' | wc -l)" -gt 3

usage() { # NAME EXPECTED ARGUMENT...
    exit_is 2 "$1" run -p one.csv -w load.csv "${@:3}" "${outs[@]}"
    like "$1: is explained" "$err" "$2"
}
usage "no size" "expected fixed:N or fixed:N:WAIT" --batch fixed
usage "too many" "one.csv:2: .*batches of 5000 requests|batches of 5000 requests" --batch fixed:5000
done_testing
