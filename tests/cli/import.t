#!/bin/bash
# What is imported is simulated and checked like any other table; a failed import leaves nothing behind.
. "$(dirname "$0")/lib.sh"
need orrery-sim

data=$root/tests/golden/data/foreign
cd "$tmp" || exit 2

# ---- DLSIM, from its files to the error of a prediction ----
ok "a placement, a workload and a trace of DLSIM" orrery-sim import dlsim "$data/dlsim-placement.json" \
    "$data/dlsim-workload" "$data/dlsim-trace.json" -o dlsim
mkdir -p costs/gpu
cat > costs/gpu/stages.csv << 'END'
executable,stage,latency_s,gap_s
Bert_2_device_inter,0,0.07,0.003
Bert_2_device_inter,1,0.07,0.003
END
ok "are simulated" orrery-sim run --placement dlsim/placement.csv --workload dlsim/workload.csv --costs costs \
    --requests-out predicted.csv
exit_is 0 "and compared with the trace" orrery-sim check --real dlsim/requests.csv --predicted predicted.csv \
    --exclude dlsim/exclude.csv --json
like "all four requests pair" "$out" '"pairs": ?4'
like "and none is missing" "$out" '"missing": ?0'
ok "the trace opens as a timeline" orrery-sim trace --stages dlsim/stages.csv --requests dlsim/requests.csv -o t.json

# ---- every workload runs ----
cat > placement.csv << 'END'
service,replica,stage,device,executable
functions,0,0,gpu,Bert_2_device_inter
functions,0,1,gpu,Bert_2_device_inter
END
ok "a drawn trace" orrery-sim import azure "$data/azure-calls.csv" --process pareto -o calls.csv
ok "is simulated" orrery-sim run --placement placement.csv --workload calls.csv --costs costs
ok "SingleStream" orrery-sim import mlperf SingleStream --service functions -o single.csv
exit_is 0 "is simulated" orrery-sim run --placement placement.csv --workload single.csv --costs costs --json
like "with the fewest queries of the rules" "$out" '"ok": ?64'

# ---- Kafetzis: a configuration is drawn, placed by hand and run ----
cat > toy.yaml << 'END'
simulation: { name: toy }
network: { topology_type: toy, num_devices: 3, min_bandwidth: 0.01, max_bandwidth: 0.1, seed: 42 }
resources: { memory_mu: 1, memory_sigma: 0.5, memory_min: 2, memory_max: 8,
             compute_mu: 5, compute_sigma: 0.5, compute_min: 5.0e+9, compute_max: 5.0e+10, seed: 42 }
workload: { model_types: [SMALL], sequence_lengths: [128, 512], generation_steps: 1, precision_bytes: 4 }
END
cat > heads.csv << 'END'
service,replica,stage,device,model,layers,block,parts
small,0,0,device_0,kafetzis-small,0,attn,0-5/8
small,0,0,device_2,kafetzis-small,0,attn,6-7/8
small,0,0,device_0,kafetzis-small,0,proj,
small,0,0,device_0,kafetzis-small,0,ffn,
END
if orrery-sim import kafetzis toy.yaml -o toy > imported.txt 2> refused.txt; then
    like "a configuration" "$(cat imported.txt)" 'toy of 3 devices and 3 links, drawn as the program does'
    exit_is 0 "is run with a placement of its own" orrery-sim run --rules kafetzis --placement heads.csv \
        --workload toy/workload.csv --cluster toy/cluster --models toy/models.csv --requests-out -
    is "one request after the other" "$(grep '^1,' <<< "$out")" \
        1,small,0,0.007909466262,0.007909466262,0.043322204912,0.043322204912,512,1,source,ok,
else
    like "no configuration without libyaml, which is said" "$(cat refused.txt)" 'install libyaml-dev and build again'
    no_file "nor what would come of it" toy
fi

# ---- outputs ----
exit_is 0 "a table on stdout" orrery-sim import burstgpt "$data/burstgpt.csv" -o -
like "sends the counts to stderr" "$err" '^burstgpt: 4 rows read, 3 kept, 1 dropped'
unlike "and not to stdout" "$out" 'rows read, 3 kept, 1 dropped.*wrote'
exit_is 0 "a table in a file" orrery-sim import burstgpt "$data/burstgpt.csv" -o burst.csv
like "sends the counts to stdout" "$out" 'kept.*wrote burst.csv$'
is "and nothing to stderr" "$err" ""

cp -r dlsim kept
sed 's/"arrive": \[0.0,/"arrive": [0.5,/' "$data/dlsim-trace.json" > other.json
exit_is 2 "a trace that does not fit" orrery-sim import dlsim "$data/dlsim-placement.json" "$data/dlsim-workload" \
    other.json -o dlsim
like "is told by its place" "$err" 'other.json: Bert_0.arrive\[0\] is .0.5.'
ok "and leaves what was there" diff -r dlsim kept
exit_is 2 "nor does it make a folder" orrery-sim import dlsim "$data/dlsim-workload" other.json -o fresh
no_file "nothing is left behind" fresh
mkdir folder
exit_is 2 "a folder is no workload" orrery-sim import azure "$data/azure-llm.csv" -o folder
exit_is 2 "several inputs are no single table" orrery-sim import dlsim "$data/dlsim-placement.json" \
    "$data/dlsim-trace.json" -o one.csv
like "which is said" "$err" "one.csv': expected a folder for the tables of 2 inputs"
no_file "and makes none" one.csv
if [ -w /dev/full ]; then
    exit_is 2 "a full disk" bash -c "orrery-sim import azure '$data/azure-llm.csv' -o - > /dev/full"
    exit_is 2 "a full disk under the counts" bash -c "orrery-sim import azure '$data/azure-llm.csv' -o late.csv > /dev/full"
    no_file "leaves no table" late.csv
else
    skip "a full disk" "no /dev/full"
fi

# ---- the list ----
for importer in $(orrery-sim import --list | cut -d' ' -f1); do
    ok "$importer has a help case" test -f "$root/tests/golden/help-sim-import-$importer/cmd"
done
done_testing
