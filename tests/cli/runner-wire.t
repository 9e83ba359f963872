#!/bin/bash
# orrery-run with activations that travel in few bits (wire_bits): real workers on loopback, and the
# same files in orrery-sim.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv
printf 'request_id,arrival_s,service,prompt_tokens,output_tokens\n1,0,chat,16,5\n2,0,chat,31,3\n3,0,chat,1,2\n' > load.csv
head='service,replica,stage,device,model,layers,block,parts,wire_bits'
pipeline() { # BITS
    printf '%s\n' "$head" "chat,0,0,d0,tiny,,embed,,$1" "chat,0,0,d0,tiny,0-1,layer,,$1" \
        "chat,0,1,d1,tiny,2-3,layer,," "chat,0,1,d1,tiny,,lm_head,,"
}
parts() { # BITS
    printf '%s\n' "$head" "chat,0,0,d0,tiny,,embed,,$1" "chat,0,0,d0,tiny,0-1,layer,0/2,$1" \
        "chat,0,0,d1,tiny,0-1,layer,1/2,$1" "chat,0,1,d2,tiny,2-3,layer,0/2," \
        "chat,0,1,d0,tiny,2-3,layer,1/2," "chat,0,1,d2,tiny,,lm_head,,"
}
mkdir -p cluster
printf 'device,type,encode_value_ns,decode_value_ns\nd0,pc,2,1\nd1,pc,2,1\nd2,pc,2,1\n' > cluster/devices.csv
printf 'medium,kind,node,bits_per_s,latency_s\nlan,switch,*,1e9,0.0001\n' > cluster/links.csv
tiny_costs 20000 2

run() { timeout 30 orrery-run --models models.csv --cluster cluster --local "$@"; }
stages() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-5,8- | sort; }
transfers() { grep -v '^#' "$1" | tail -n +2 | cut -d, -f 1-7 | sort; }
outs=(--requests-out r.csv --stages-out s.csv --transfers-out t.csv)
agrees() { # NAME PLACEMENT OPTION...
    local name=$1 placement=$2
    shift 2
    exit_is 0 "$name" run -p "$placement" -w load.csv "$@" "${outs[@]}"
    is "$name: every request is ok" "$(grep -c ',ok,' r.csv)" 3
    exit_is 0 "$name, predicted" orrery-sim run --models models.csv --cluster cluster --costs costs -p "$placement" \
        -w load.csv "$@" --requests-out sim-r.csv --stages-out sim-s.csv --transfers-out sim-t.csv
    is "$name: the same steps" "$(stages s.csv)" "$(stages sim-s.csv)"
    is "$name: the same messages" "$(transfers t.csv)" "$(transfers sim-t.csv)"
}
for bits in 2 8 12 31; do
    pipeline $bits > p$bits.csv
    agrees "$bits bits" p$bits.csv
done
like "of 16 tokens 8 + 4 x 16 x 64 / 1 bytes" "$(grep '^1,0,,d0' t.csv)" "^1,0,,d0,d1,lan,4104,"
agrees "batches of 8 bits" p8.csv --batch continuous:2:24
parts 8 > parts8.csv
agrees "8 bits between stages on several devices" parts8.csv
exit_is 0 "clamped values" run -p p8.csv -w load.csv --wire-clamp "${outs[@]}"
# 2 layers of 11 operators and embed, 20 us each, and 64 values that take 2 ns to code: 460.128 us, x 5
printf 'request_id,arrival_s,service,prompt_tokens,output_tokens\n0,0,chat,16,20\n' > single.csv
exit_is 0 "coding is part of a padded step" run -p p8.csv -w single.csv --costs costs --pad d0=5 "${outs[@]}"
shortest=$(grep -v '^#' s.csv | awk -F, '$5 == "d0" { print $7 - $6 }' | sort -g | head -n 1)
ok "a step lasts ratio x price" awk "BEGIN { exit !($shortest >= 0.00230064 && $shortest < 0.0027) }"

done_testing
