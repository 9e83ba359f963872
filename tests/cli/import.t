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

# ---- PipeEdge: the planner that is its own scheduler finds the schedule that it wrote ----
mkdir pipeedge
cat > pipeedge/models.yml << 'END'
net: { layers: 4, mem_MB: [8, 8, 8, 8], parameters_in: 1000, parameters_out: [2000, 1000, 2000, 10] }
END
cat > pipeedge/device_types.yml << 'END'
slow:
  bw_Mbps: 100
  mem_MB: 64
  model_profiles: { net: [{ dtype: torch.float32, batch_size: 8, time_s: [0.2, 0.1, 0.2, 0.1] }] }
fast:
  bw_Mbps: 1000
  mem_MB: 64
  model_profiles: { net: [{ dtype: torch.float32, batch_size: 8, time_s: [0.1, 0.05, 0.1, 0.05] }] }
END
printf 'slow: [s0]\nfast: [f0, f1]\n' > pipeedge/devices.yml
printf -- '- f0: [1, 2]\n- s0: [3, 3]\n- f1: [4, 4]\n' > schedule.yml
cp schedule.yml pipeedge/b.yaml
echo '[]' > pipeedge/a.yml
echo 'note: {none: of ours}' > pipeedge/other.yml
echo '{ unclosed' > pipeedge/broken.yml
mkfifo pipeedge/pipe.yml # that nobody writes to
if timeout 30 orrery-sim import pipeedge pipeedge -o edge > imported.txt 2> refused.txt; then
    like "schedules of a folder are left out, by name" "$(tr -s ' \n' ' ' < imported.txt)" \
        "left out 'a.yml', 'b.yaml': of a folder no schedule is read, as it does not say which is meant"
    no_file "and become no placement" edge/placement.csv
    exit_is 0 "a folder of PipeEdge's files is placed on" orrery-sim place --algorithm pipeedge --objective period \
        --cluster edge/cluster --costs edge/costs -o edge/placement.csv --json
    like "with the shortest period" "$out" '"period_s": 0.15[^0-9]'
    printf 'request_id,arrival_s,service\n0,0,net\n' > lone.csv
    ok "and is run" orrery-sim run --placement edge/placement.csv --cluster edge/cluster --costs edge/costs --workload lone.csv
    ok "a schedule is a placement" orrery-sim import pipeedge pipeedge/{devices,models,device_types}.yml schedule.yml -o edge
    is "in our words" "$(sed -n '3,$p' edge/placement.csv)" "net,0,0,f0,net,0-1
net,0,1,s0,net,2
net,0,2,f1,net,3"
    printf 'slow: [s0]\nfats: [f0]\n' > pipeedge/devices.yml
    exit_is 2 "an unknown type of device is no silence" orrery-sim import pipeedge pipeedge -o wrong
    like "but an error with its place" "$err" "devices.yml:2:7: 'fats' is no type of device_types.yml.*'fast'"
    no_file "that leaves nothing" wrong
else
    like "no files of PipeEdge without libyaml, which is said" "$(cat refused.txt)" 'install libyaml-dev and build again'
    no_file "nor what would come of them" edge
fi

# ---- InfScale: a job says where the stages of a plan stand ----
cat > job.yaml << 'END'
name: job
model: net
micro_batch_size: 2
fwd_policy: shortest
flow_graph:
  0-0: [{ name: w0, peers: [s-0], addr: 10.0.0.1, backend: gloo }]
  0-1: [{ name: w1, peers: [s-0], addr: 10.0.0.1, backend: gloo }]
  1-0: [{ name: w2, peers: [0-0, 0-1], addr: 10.0.0.2, backend: gloo }]
  s-0: [{ name: w3, peers: [1-0], addr: 10.0.0.1, backend: gloo }]
workers:
  - { id: s-0, device: cpu, is_server: true, stage: { start: -1, end: -1 } }
  - { id: 0-0, device: "cuda:0", stage: { start: 0, end: 4 } }
  - { id: 0-1, device: "cuda:1", stage: { start: 0, end: 4 } }
  - { id: 1-0, device: "cuda:0", stage: { start: 5, end: 14 } }
END
if orrery-sim import infscale "$data/infscale/plan.json" job.yaml -o scale > imported.txt 2> refused.txt; then
    like "a job" "$(cat imported.txt)" 'fwd_policy shortest: --dispatch least-outstanding'
    printf 'request_id,arrival_s,service\n0,0,net\n1,0,net\n' > lone.csv
    exit_is 0 "is run with the costs of its plan" orrery-sim run --placement scale/placement.csv --cluster scale/cluster \
        --costs scale/costs --workload lone.csv --dispatch least-outstanding --requests-out -
    is "on both copies of its first stage" "$(grep '^1,' <<< "$out" | cut -d, -f1-7)" 1,net,0,0,0,,0.117
    sed -i 's/end: 14/end: 13/' job.yaml
    exit_is 2 "layers that the plan does not have" orrery-sim import infscale "$data/infscale/plan.json" job.yaml -o wrong
    like "are an error" "$err" "worker '1-0' has layers 5 to 13: no stage"
else
    like "no job without libyaml, which is said" "$(cat refused.txt)" 'install libyaml-dev and build again'
    no_file "nor what would come of it" scale
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
