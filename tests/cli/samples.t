#!/bin/bash
# The samples in this repository are real: the simulator still predicts, byte for byte, what stands beside the measured
# runs in traces/samples, and one device is still predicted within 15 %.
. "$(dirname "$0")/lib.sh"
need orrery-sim
cd "$root" || exit 2

predict() { # SAMPLE PLACEMENT CLUSTER WORKLOAD
    local sample=$1
    orrery-sim run --placement "placements/$2.csv" --cluster "placements/clusters/$3" --costs traces/costs \
        --workload "workloads/$4.csv" --requests-out "$tmp/requests.csv" --stages-out "$tmp/stages.csv" || return
    diff "$sample/predicted-requests.csv" "$tmp/requests.csv" && diff "$sample/predicted-stages.csv" "$tmp/stages.csv"
}

for samples in traces/samples/*; do
    type=$(basename "$samples")
    ok "$type: one device, Poisson" predict "$samples/one-device-poisson" one-device "$type" poisson
    ok "$type: one device, closed loop" predict "$samples/one-device-closed-loop" one-device "$type" closed-loop
    ok "$type: pipeline, Poisson" predict "$samples/pipeline-poisson" pipeline "$type" poisson
    ok "$type: pipeline, closed loop" predict "$samples/pipeline-closed-loop" pipeline "$type" closed-loop
    ok "$type: pipeline of boards" predict "$samples/pipeline-of-boards" pipeline "$type-boards" slow-poisson
    for sample in "$samples"/*; do
        is "$(basename "$sample"): what check says of it" \
            "$(orrery-sim check --real "$sample/real-requests.csv" --predicted "$sample/predicted-requests.csv")" \
            "$(cat "$sample/check.txt")"
    done
    for sample in "$samples"/one-device-*; do
        ok "$(basename "$sample"): within 15 % a request" orrery-sim check --max-mare 15% \
            --real "$sample/real-requests.csv" --predicted "$sample/predicted-requests.csv"
    done
done
done_testing
