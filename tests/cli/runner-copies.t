#!/bin/bash
# orrery-run with stages that have copies: the ways, steps and messages of orrery-sim on the same files, and
# the tokens of one device; bounded queues that several copies share; a copy that is lost.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
. "$(dirname "$0")/long_run.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv
tiny_cluster d0 d1 d2 d3 d4
tiny_costs 20000 2 # 20 us each, whatever the size: of a half of the layers 0.44 ms or more
outs=(--requests-out r.csv --stages-out s.csv --transfers-out t.csv)
head=service,replica,stage,device,model,layers,block,copy,queue_depth
stage() { # NUMBER DEVICE COPY [DEPTH]: embed and layers 0-1, or layers 2-3 and the output matrix
    if [ "$1" = 0 ]; then
        printf '%s\n' "chat,0,0,$2,tiny,,embed,$3,${4:-}" "chat,0,0,$2,tiny,0-1,layer,$3,${4:-}"
    else
        printf '%s\n' "chat,0,1,$2,tiny,2-3,layer,$3,${4:-}" "chat,0,1,$2,tiny,,lm_head,$3,${4:-}"
    fi
}
{ echo $head; stage 0 d0 0; stage 1 d1 0; stage 1 d2 4; } > last.csv
{ echo $head; stage 0 d0 0; stage 0 d1 1; stage 0 d2 2; stage 1 d3 0; stage 1 d4 1; } > both.csv
{ echo $head; stage 0 d0 0 1; stage 0 d1 1 1; stage 1 d2 0 1; } > shared.csv
{ echo $head; stage 0 d0 0 2; stage 0 d1 1 2; stage 1 d2 0 1; stage 1 d3 1 1; } > deep.csv
{ # a copy on two devices
    echo service,replica,stage,device,model,layers,block,copy,parts
    stage 0 d0 0 && stage 1 d1 0
    printf '%s\n' chat,0,1,d2,tiny,2-3,layer,1,0/2 chat,0,1,d3,tiny,2-3,layer,1,1/2 chat,0,1,d2,tiny,,lm_head,1,
} > halves.csv
printf '%s\n' service,replica,stage,device,model chat,0,0,d0,tiny > one.csv
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens'
    for ((i = 0; i < 18; i++)); do echo "$i,0.$((100 + i)),chat,$((8 + i)),$((1 + i % 5))"; done
} > burst.csv

run() { timeout 30 orrery-run --models models.csv --cluster cluster --local "$@"; }
sim() { orrery-sim run --models models.csv --cluster cluster --costs costs "$@" --requests-out sim-r.csv --stages-out sim-s.csv --transfers-out sim-t.csv; }
stages() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-5,8,10 | sort; }
transfers() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-2,4-7 | sort; }
fates() { paste -d : <(column "$1" request_id) <(column "$1" status) | sort -n | xargs; }

# ---- the same ways, steps and messages
pads=(--pad d0=1 --pad d1=1 --pad d2=2 --pad d3=1 --pad d4=3)
printf 'device,type,speed_ratio\nd0,pc,1\nd1,pc,1\nd2,pc,0.5\nd3,pc,1\nd4,pc,0.3333\n' > cluster/devices.csv
same() { # PLACEMENT OPTION...
    local name="$1 ${*:2}" used pad=()
    used=$(cut -d, -f 4 "$1.csv" | sort -u)
    for ((i = 1; i < ${#pads[@]}; i += 2)); do
        grep -qx "${pads[i]%=*}" <<< "$used" && pad+=(--pad "${pads[i]}")
    done
    rm -f r.csv s.csv t.csv sim-?.csv
    exit_is 0 "$name" run -p "$1.csv" -w burst.csv --costs costs "${pad[@]}" "${outs[@]}" "${@:2}"
    exit_is 0 "$name, predicted" sim -p "$1.csv" -w burst.csv "${@:2}"
    is "$name: every request is ok" "$(grep -c ',ok,' r.csv)" 18
    is "$name: the same steps on the same devices" "$(stages s.csv)" "$(stages sim-s.csv)"
    is "$name: the same messages" "$(transfers t.csv)" "$(transfers sim-t.csv)"
}
same last --dispatch round-robin
same both --dispatch round-robin
same both --dispatch random --seed 7
same both --dispatch sticky
same shared --dispatch round-robin
same deep --dispatch round-robin
same halves --dispatch round-robin
# Never more steps on their way to a queue that copies share than it takes.
most_waiting() { # DEVICE STAGE: sent counts 1, begun -1, at one instant the latter first
    {
        grep -v '^#' t.csv | awk -F, -v d="$1" '$5 == d { printf "%.9f 1 %s\n", $8, $1 "/" $2 }'
        grep -v '^#' s.csv | awk -F, -v d="$1" -v s="$2" 'NR > 1 && $4 == s && $5 == d { printf "%.9f -1 %s\n", $6, $1 "/" $8 }'
    } | sort -k1,1g -k2,2g | awk '{ n += $2; if (n > most) most = n } END { print most }'
}
run -p shared.csv -w burst.csv --dispatch round-robin --costs costs --pad d0=1 --pad d1=1 --pad d2=8 "${outs[@]}" > run.out 2> run.err
is "a queue that two copies share: every request is ok" "$(grep -c ',ok,' r.csv)" 18
is "no more steps than it takes" "$(most_waiting d2 1)" 1

# ---- epochs: copies come and go
{
    echo $head,epoch,from_s
    tail -n +2 one.csv | sed 's/$/,,,0,,0,0/'
    tail -n +2 both.csv | sed 's/$/,1,0.107/'
    tail -n +2 last.csv | sed 's/$/,2,0.112/'
} > epochs.csv
same epochs --dispatch round-robin
is "epochs: of the last one both copies" "$(awk -F, '$1 > 12 && $4 == 1 { print $5 }' s.csv | sort -u | xargs)" "d1 d2"

# ---- fixed batches: each copy of stage 0 makes its own, and a batch goes the way of its oldest
tiny_models models.csv "tiny-bert,encoder,4,64,4,4,16,256,512,gelu,layer,learned,no,32,32,64"
for placement in last both; do sed 's/,tiny,/,tiny-bert,/' $placement.csv > bert-$placement.csv; done
cut -d, -f 1-4 burst.csv > text.csv
printf 'device,type,speed_ratio\nd0,pc,0.01\nd1,pc,0.01\nd2,pc,0.01\nd3,pc,0.01\nd4,pc,0.01\n' > cluster/devices.csv
same_batches() { # PLACEMENT LOAD OPTION...: on a busy machine an instant may be missed, but not three times
    sim -p "$1.csv" -w "$2" "${@:3}" > sim.out 2>&1 || { cat sim.out; return 1; }
    pad=()
    for device in $(tail -n +2 "$1.csv" | cut -d, -f 4 | sort -u); do pad+=(--pad "$device=100"); done
    for ((try = 0; try < 3; try++)); do
        run -p "$1.csv" -w "$2" --costs costs "${pad[@]}" "${outs[@]}" "${@:3}" > run.out 2> run.err || { cat run.err; return 1; }
        [ "$(grep -c ',ok,' r.csv)" = 18 ] && [ "$(stages s.csv)" = "$(stages sim-s.csv)" ] &&
            [ "$(transfers t.csv)" = "$(transfers sim-t.csv)" ] && return 0
    done
    diff <(stages sim-s.csv) <(stages s.csv)
    diff <(transfers sim-t.csv) <(transfers t.csv)
    return 1
}
for placement in bert-last bert-both; do
    ok "$placement: the same batches as predicted" same_batches $placement text.csv --dispatch round-robin --batch fixed:3:40ms
done
is "batches of both copies of the last stage" "$(awk -F, '$4 == 1 { print $5 }' s.csv | sort -u | xargs)" "d3 d4"

# of decoders one more than stages for each further copy; 2 s between bursts, so that no decision hangs on an instant
{
    head -n 1 burst.csv
    for ((i = 0; i < 18; i++)); do echo "$i,$((2 * (i / 6))).$((100 + i % 6)),chat,$((8 + i)),$((1 + i % 5))"; done
} > bursts.csv
for placement in last both; do
    ok "$placement: the same batches of decoders as predicted" same_batches $placement bursts.csv --dispatch round-robin --batch fixed:2:40ms
done

# ---- what is refused, by what says so
exit_is 2 "copies with continuous batches" run -p last.csv -w burst.csv --batch continuous:4 "${outs[@]}"
like "at the first row of a copy" "$err" "last.csv:6:8: copy is '4': this version does not combine copies with continuous batches"
exit_is 2 "batches that are too large" run -p last.csv -w burst.csv --batch fixed:5000 "${outs[@]}"
like "of --batch" "$err" "run: --batch fixed: batches of 5000 requests of up to 25 tokens: expected at most 4096"
sed '1s/$/,max_batch/; 2,$s/$/,5000/' last.csv > large.csv
exit_is 2 "of rows" run -p large.csv -w burst.csv "${outs[@]}"
like "of the first such row" "$err" "large.csv:2:10: max_batch is '5000': batches of 5000 requests"

# ---- a copy that is lost
printf 'device,type,speed_ratio\nd0,pc,0.005\nd1,pc,0.005\nd2,pc,0.005\n' > cluster/devices.csv
{ # one every 250 ms, from 0.1 s on; 94 ms in each stage
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens'
    for ((i = 0; i < 14; i++)); do echo "$i,$(((100 + 250 * i) / 1000)).$(printf %03d $(((100 + 250 * i) % 1000))),chat,16,1"; done
} > load.csv
printf 'time_s,target,event\n1.00,d2,down\n1.75,d2,up\n2.75,d1,down\n3.24,d2,down\n' > drill.csv
drill() { # OPTION...
    rm -f r.csv s.csv t.csv
    run -p last.csv -w load.csv --dispatch round-robin --costs costs --pad d0=200 --pad d1=200 --pad d2=200 --events drill.csv \
        "${outs[@]}" "$@" > run.out 2> run.err
}
well() { # STAGES REQUESTS: rows of those that are ok
    awk -F, 'FNR == NR { if ($11 == "ok") ok[$1]; next } $1 in ok { print $1, $4, $5, $8 }' <(grep -v '^#' "$2") <(grep -v '^#' "$1") | sort
}
same_fates() {
    sim -p last.csv -w load.csv --dispatch round-robin --events drill.csv > sim.out 2>&1
    for ((try = 0; try < 3; try++)); do
        drill
        [ "$(fates r.csv)" = "$(fates sim-r.csv)" ] && [ "$(well s.csv r.csv)" = "$(well sim-s.csv sim-r.csv)" ] && return 0
    done
    printf '%s\n' "$(fates sim-r.csv)" "$(fates r.csv)" "$(cat run.err)"
    diff <(well sim-s.csv sim-r.csv) <(well s.csv r.csv)
    return 1
}
ok "the same requests fail as are predicted to, the others pass the same copies" same_fates
is "who passes what is left goes on" "$(column r.csv status | sort | uniq -c | xargs)" "4 failed 10 ok"
replays() {
    for ((try = 0; try < 3; try++)); do
        drill --on-failure replay
        [ "$? $(column r.csv status | sort | uniq -c | xargs)" = "1 2 failed 12 ok" ] &&
            grep -q "3 workers lost, 1 came back; 3 requests begun anew" run.out && return 0
    done
    cat run.out run.err
    return 1
}
ok "with replays on the other copy, until both are lost; they are counted" replays

# ---- who shares a queue is lost: what it was granted is free again
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s'
    for ((i = 0; i < 1200; i++)); do echo "$i,,chat,16,4,c$((i % 8)),0"; done
} > long.csv
printf 'device,type\nd0,pc\nd1,pc\nd2,pc\nd3,pc\n' > cluster/devices.csv
printf 'time_s,target,event\n0.20,d1,down\n0.60,d1,up\n0.80,d0,down\n' > brief.csv
for placement in shared deep; do
    exit_is 0 "$placement: copies that are lost" run -p $placement.csv -w long.csv --events brief.csv --on-failure replay "${outs[@]}"
    is "$placement: every request is ok" "$(grep -c ',ok,' r.csv)" 1200
    is "$placement: each step once in each stage" "$(paste -d , <(column s.csv request_id) <(column s.csv stage) <(column s.csv step) | sort | uniq -d | wc -l)" 0
done
printf 'time_s,target,event\n0.20,d3,down\n0.50,d3,up\n' > brief.csv
exit_is 0 "deep: a copy that others wait for" run -p deep.csv -w long.csv --events brief.csv --on-failure replay "${outs[@]}"
is "deep: every request is ok then" "$(grep -c ',ok,' r.csv)" 1200

# ---- an update brings copies
{ echo $head; stage 0 d0 0; stage 1 d1 0; } > plain.csv
{ echo $head; stage 0 d1 0 2; stage 0 d0 1 2; stage 1 d1 0; stage 1 d0 1; } > swapped.csv
for ((i = 1200; i < 20000; i++)); do echo "$i,,chat,16,4,c$((i % 8)),0"; done >> long.csv
begin --cluster cluster -p plain.csv
exit_is 0 "an update is taken" timeout 30 orrery-run update --connect "127.0.0.1:$port" --placement swapped.csv
await_more 300
like "the status knows both workers" "$(timeout 10 orrery-run status --connect "127.0.0.1:$port")" "d0.*d1"
finish
is "copies of both stages have had steps" "$(awk -F, 'FNR == NR { if ($11 == "ok" && $13 == 1) mine[$1]; next } $1 in mine { print $4 $5 }' \
    <(grep -v '^#' r.csv) <(grep -v '^#' s.csv) | sort -u | xargs)" "0d0 0d1 1d0 1d1"
is "nothing failed before the end" "$(grep -v '^#' r.csv | awk -F, '$11 == "ok" { if ($1 - last > 9) bad = 1; last = $1 } END { print bad + 0 }')" 0

done_testing
