#!/bin/bash
# orrery-run with stages on several devices, or of parts of layers: real workers on loopback, and the same files in
# orrery-sim. What is computed where, and every message, must agree; times need not.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv \
    "tiny-bert,encoder,2,64,4,4,16,256,512,gelu,layer,learned,no,32,32,64" \
    "eight,decoder,4,64,4,4,16,256,512,gelu,layer,learned,yes,8,32,256"
printf 'request_id,arrival_s,service,prompt_tokens,output_tokens\n1,0,chat,16,5\n2,0.01,chat,31,3\n3,0.02,chat,1,2\n' > load.csv
head='service,replica,stage,device,model,layers,block,parts'
cat > halves.csv << END
$head
chat,0,0,d0,tiny,,embed,
chat,0,0,d0,tiny,0-3,layer,0/2
chat,0,0,d1,tiny,0-3,layer,1/2
chat,0,0,d0,tiny,,lm_head,0/2
chat,0,0,d1,tiny,,lm_head,1/2
END
cat > uneven.csv << END
$head
chat,0,0,d2,tiny,,embed,
chat,0,0,d0,tiny,0-3,attn,0-1/4
chat,0,0,d1,tiny,0-3,attn,2/4
chat,0,0,d2,tiny,0-3,attn,3/4
chat,0,0,d0,tiny,0-3,proj,0/2
chat,0,0,d1,tiny,0-3,proj,1/2
chat,0,0,d0,tiny,0-1,conn,0/3
chat,0,0,d1,tiny,0-1,conn,1/3
chat,0,0,d2,tiny,0-1,conn,2/3
chat,0,0,d1,tiny,0-3,ffn,0/2
chat,0,0,d2,tiny,0-3,ffn,1/2
chat,0,0,d1,tiny,,lm_head,
END
cat > pipeline.csv << END
$head
chat,0,0,d0,tiny,,embed,
chat,0,0,d0,tiny,0-1,layer,0/2
chat,0,0,d1,tiny,0-1,layer,1/2
chat,0,1,d2,tiny,2-3,layer,0-1/4
chat,0,1,d0,tiny,2-3,layer,2/4
chat,0,1,d1,tiny,2-3,layer,3/4
chat,0,1,d2,tiny,,lm_head,
END
cat > cut.csv << END
$head
chat,0,0,d0,tiny,,embed,
chat,0,0,d0,tiny,0-1,layer,
chat,0,0,d0,tiny,2,attn,
chat,0,1,d1,tiny,2,proj,
chat,0,1,d1,tiny,2,ffn_up,
chat,0,2,d2,tiny,2,ffn_down,
chat,0,2,d2,tiny,3,attn,
chat,0,2,d2,tiny,3,proj,
chat,0,3,d0,tiny,3,ffn,
chat,0,3,d0,tiny,,lm_head,
END
cat > cut-parts.csv << END
$head,wire_bits
chat,0,0,d0,tiny,,embed,,8
chat,0,0,d0,tiny,0-1,layer,0/2,8
chat,0,0,d1,tiny,0-1,layer,1/2,8
chat,0,0,d1,tiny,2,attn,,8
chat,0,1,d2,tiny,2,proj,0/2,
chat,0,1,d1,tiny,2,proj,1/2,
chat,0,1,d2,tiny,2,ffn_up,0/2,
chat,0,1,d1,tiny,2,ffn_up,1/2,
chat,0,2,d2,tiny,2,ffn_down,,
chat,0,2,d2,tiny,3,layer,,
chat,0,2,d2,tiny,,lm_head,,
END
tiny_cluster d0 d1 d2
tiny_costs 20000 2 4

run() {
    timeout 30 orrery-run --models models.csv --cluster cluster --local "$@"
}
# What is said of steps and messages, without their times: in any order.
stages() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-5,8- | sort; }
transfers() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-2,4-7 | sort; }

for how in ring star tree; do
    for placement in halves uneven pipeline cut cut-parts; do
        exit_is 0 "$placement by $how" run -p $placement.csv -w load.csv --collective $how \
            --requests-out r.csv --stages-out s.csv --transfers-out t.csv
        is "$placement by $how: every request is ok" "$(grep -c ',ok,' r.csv)" 3
        exit_is 0 "$placement by $how, predicted" orrery-sim run --models models.csv --cluster cluster \
            --costs costs -p $placement.csv -w load.csv --collective $how \
            --requests-out sim-r.csv --stages-out sim-s.csv --transfers-out sim-t.csv
        is "$placement by $how: the same devices compute each step" "$(stages s.csv)" "$(stages sim-s.csv)"
        is "$placement by $how: the same messages" "$(transfers t.csv)" "$(transfers sim-t.csv)"
    done
done
sent_before_received() { grep -v '^#' t.csv | awk -F, 'NR > 1 && $8 > $9 { print; bad = 1 } END { exit bad }'; }
ok "nothing is received before it is sent" sent_before_received

# 4 layers of 11 operators, embed, final norm, output matrix: 47 x 20 us x 5
exit_is 0 "padded parts" run -p halves.csv -w load.csv --costs costs --pad d0=5 --pad d1=5 --requests-out r.csv --stages-out s.csv
shortest=$(grep -v '^#' s.csv | grep ',d0,' | awk -F, '{ print $7 - $6 }' | sort -g | head -n 1)
ok "a step lasts ratio x price at least" awk "BEGIN { exit !($shortest >= 0.0047) }"

sed 's/tiny/eight/' halves.csv > eight.csv
exit_is 0 "parts of 8-bit weights" run -p eight.csv -w load.csv --requests-out r.csv --stages-out s.csv
sed 's/0-3,layer,0.2/0-3,layer,0\/4/; s/0-3,layer,1.2/0-3,layer,1-3\/4/' eight.csv > eight-four.csv
exit_is 2 "parts that end inside a block of 8-bit weights" run -p eight-four.csv -w load.csv --requests-out r.csv --stages-out s.csv
like "the row is named" "$err" "eight-four.csv:2:.*cuts 8-bit weights at multiples of 32 columns"

printf 'service,replica,stage,device,model,layers,block,parts\ntext,0,0,d0,tiny-bert,,embed,\ntext,0,0,d0,tiny-bert,0-1,layer,0/2\ntext,0,0,d1,tiny-bert,0-1,layer,1/2\ntext,0,0,d1,tiny-bert,,lm_head,\n' > bert.csv
printf 'request_id,arrival_s,service,prompt_tokens\n0,0,text,20\n1,0,text,17\n' > text.csv
exit_is 0 "an encoder in parts" run -p bert.csv -w text.csv --requests-out r.csv --stages-out s.csv
is "each of its requests is ok" "$(grep -c ',ok,' r.csv)" 2

# A stage in parts, and a whole one of the same model on one of its devices: its tied matrix is its own.
cat > both.csv << END
$head
chat,0,0,d0,tiny,,embed,
chat,0,0,d0,tiny,0-3,layer,0/2
chat,0,0,d1,tiny,0-3,layer,1/2
chat,0,0,d0,tiny,,lm_head,
chat,1,0,d0,tiny,,all,
END
exit_is 0 "parts beside the whole model" run -p both.csv -w load.csv --requests-out r.csv --stages-out s.csv
is "all requests are ok" "$(grep -c ',ok,' r.csv)" 3

# The first device has only a part of the norms, which has no row of a step of one token.
cat > idle.csv << END
$head
chat,0,0,d0,tiny,0-1,conn,0/2
chat,0,0,d1,tiny,,embed,
chat,0,0,d1,tiny,0-1,attn,
chat,0,0,d1,tiny,0-1,proj,
chat,0,0,d1,tiny,0-1,ffn,
chat,0,0,d1,tiny,0-1,conn,1/2
chat,0,1,d2,tiny,2-3,layer,
chat,0,1,d2,tiny,,lm_head,
END
printf 'request_id,arrival_s,service,prompt_tokens,output_tokens\n0,0,chat,1,3\n1,0.05,chat,1,3\n' > short.csv
exit_is 0 "a first device that computes nothing" run -p idle.csv -w short.csv --dispatch least-idle --requests-out r.csv --stages-out s.csv
is "every short request is ok" "$(grep -c ',ok,' r.csv)" 2

# What a device tells of each message makes a long RECORD: here above 64 KiB.
sed 's/^tiny,.*/deep,decoder,700,16,2,2,8,16,32,gelu,layer,learned,yes,32,32,64/; /^eight/d; /^tiny-bert/d' models.csv > deep-models.csv
sed 's/tiny/deep/; s/0-3/0-699/' halves.csv > deep.csv
exit_is 0 "long records" timeout 30 orrery-run --models deep-models.csv --local -p deep.csv -w short.csv \
    --requests-out r.csv --stages-out s.csv --transfers-out t.csv
is "all have come" "$(grep -c '^[01],chat' s.csv)" 12

# Somebody else's requests are replayed here: the rows of all devices are kept.
{ cat halves.csv && echo 'chat,1,0,d2,tiny,,all,'; } > other.csv
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens'
    for ((i = 0; i < 10; i++)); do echo "$i,0.$((100 + 10 * i)),chat,16,3"; done
} > ten.csv
printf 'time_s,target,event\n0.25,d2,down\n' > fall.csv
exit_is 0 "replays on a stage on several devices" run -p other.csv -w ten.csv --costs costs --pad d2=40 --dispatch round-robin \
    --events fall.csv --on-failure replay --requests-out r.csv --stages-out s.csv
like "there were some" "$out" "[1-9] requests begun anew"
ended_here=$(grep -c '^[0-9],chat,0,.*,ok,' r.csv)
is "each of its devices has a row of each step" "$(grep -c '^[0-9],chat,0,.*,d0,' s.csv) $(grep -c '^[0-9],chat,0,.*,d1,' s.csv)" "$((3 * ended_here)) $((3 * ended_here))"

# A device that dies takes the stage with it.
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s'
    for ((i = 0; i < 4000; i++)); do echo "$i,,chat,16,8,c$((i % 2)),0.01"; done
} > long.csv
timeout 30 orrery-run --models models.csv --local -p halves.csv -w long.csv --requests-out r.csv --stages-out s.csv > long.out 2> long.err &
runner=$!
for ((i = 0; i < 400; i++)); do # until some have ended, however busy the machine is
    [ "$(grep -cs ',ok,' r.csv.partial)" -gt 10 ] 2> /dev/null && break
    sleep 0.05
done
victim=$(pgrep -P "$(pgrep -P $runner)" | tail -n 1)
kill -9 "$victim"
wait $runner
is "a part's worker is killed: exit 1" "$? $(grep -c 'worker lost' long.err)" "1 1"
ok "what had finished is written" test "$(grep -c ',ok,' r.csv)" -gt 10
is "the rest has failed" "$(grep -c ',failed,' r.csv)" $((4000 - $(grep -c ',ok,' r.csv)))

done_testing
