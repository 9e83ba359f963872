#!/bin/bash
# The epochs of a placement in orrery-run: the same requests go to the same replicas as in orrery-sim, and a
# request ends where it began.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2
tiny_models models.csv
cat > epochs.csv << 'END'
service,replica,stage,device,model,layers,block,epoch,from_s
chat,0,0,d0,tiny,,all,0,0
chat,0,0,d0,tiny,,embed,1,0.75
chat,0,0,d0,tiny,0-1,layer,1,0.75
chat,0,1,d1,tiny,2-3,layer,1,0.75
chat,0,1,d1,tiny,,lm_head,1,0.75
chat,1,0,d2,tiny,,all,1,0.75
chat,0,0,d2,tiny,,all,2,1.55
END
{
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens'
    for ((i = 0; i < 24; i++)); do echo "$i,$((i / 10)).$((i % 10)),chat,16,3"; done
} > load.csv
tiny_costs 1000
where() { # of every step: request, replica, stage, device
    grep -v '^#' "$1" | awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next } { print $c["request_id"], $c["replica"], $c["stage"], $c["device"], $c["step"] }' | sort
}
exit_is 0 "it is predicted" orrery-sim run --models models.csv --placement epochs.csv --workload load.csv --costs costs --dispatch round-robin --requests-out p.csv --stages-out ps.csv
exit_is 0 "and runs" timeout 40 orrery-run --models models.csv --local --placement epochs.csv --workload load.csv --dispatch round-robin --requests-out r.csv --stages-out rs.csv
like "all requests are ok" "$out" "24: 24 ok, 0 failed, 0 refused"
is "every step is where it was predicted to be" "$(where rs.csv)" "$(where ps.csv)"
is "all three devices have worked" "$(where rs.csv | awk '{ print $4 }' | sort -u | xargs)" "d0 d1 d2"
exit_is 0 "with continuous batches too" timeout 40 orrery-run --models models.csv --local --placement epochs.csv --workload load.csv --dispatch round-robin --batch continuous:4 --requests-out r.csv --stages-out rs.csv
like "all are ok again" "$out" "24: 24 ok, 0 failed, 0 refused"

# a service that goes away, and comes back
cat > away.csv << 'END'
service,replica,stage,device,model,epoch,from_s
chat,0,0,d0,tiny,0,0
talk,0,0,d1,tiny,1,0.75
chat,0,0,d0,tiny,2,1.55
END
exit_is 0 "a service that an epoch does not have" timeout 40 orrery-run --models models.csv --local --placement away.csv --workload load.csv --requests-out r.csv --stages-out rs.csv
is "refuses what arrives then" "$(grep -v '^#' r.csv | awk -F, 'NR > 1 { print $11 }' | uniq -c | xargs)" "8 ok 8 refused 8 ok"
done_testing
