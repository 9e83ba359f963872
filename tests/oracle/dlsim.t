#!/bin/bash
# The simulator against DLSIM's golden runs (--rules dlsim), and against the quantiles of five real traces (default rules).
. "$(dirname "$0")/../cli/lib.sh"
need orrery-sim

data=$root/../shared/data/dlsim
[ -d "$data" ] || skip_all "no golden runs here: ../shared/data/dlsim is absent"
mkdir -p "$tmp/costs/v100" "$tmp/gaps/v100"
cp "$data/cost/stages.csv" "$tmp/costs/v100"
cp "$data/cost_gap/stages.csv" "$tmp/gaps/v100"

# ---- 15 golden runs, every start and end within 1 ns ----

# The largest difference of starts and ends in ns, of rows of the same key; or what is missing.
differ() { # GOLDEN SEEN
    awk -F, 'function far(a, b) { d = (a - b) * 1e9; d = d < 0 ? -d : d; if (d > most) most = d }
        /^#/ || $1 == "request_id" { next }
        NR == FNR { start[$1, $2, $3, $4, $5] = $6; finish[$1, $2, $3, $4, $5] = $7; left++; next }
        !(($1, $2, $3, $4, $5) in start) { print "not in the golden run: " $0; bad = 1; exit }
        { far($6, start[$1, $2, $3, $4, $5]); far($7, finish[$1, $2, $3, $4, $5]); left-- }
        END { if (!bad) print left ? left " rows are missing" : most < 1 ? "within 1 ns" : most " ns" }' "$1" "$2"
}

# First start and last end of each request: what a run without a trace of stages tells.
requests_of() { # GOLDEN
    awk -F, -v OFS=, '$1 == "request_id" { next }
        { key = $1 "," $2 "," $3; if (!(key in start) || $6 < start[key]) start[key] = $6
          if ($7 > finish[key]) finish[key] = $7 }
        END { for (key in start) print key, 0, "all", start[key], finish[key] }' OFMT=%.17g CONVFMT=%.17g "$1"
}

golden() { # RUN WORKLOAD PLACEMENT
    local run=$1 path=$data/parity/$1.csv input
    input=(-p "$data/$3" -w "$data/$2" -c "$tmp/costs" --rules dlsim)
    ok "$run" orrery-sim run "${input[@]}" --stages-out "$tmp/stages.csv" --json
    is "$run: starts and ends of stages" "$(differ "$path" "$tmp/stages.csv")" "within 1 ns"
    requests_of "$path" > "$tmp/golden.csv"
    for fast in on events off; do
        orrery-sim run "${input[@]}" --fast-path $fast --requests-out "$tmp/requests-$fast.csv" \
            --json > "$tmp/report-$fast.json"
        awk -F, -v OFS=, '!/^#/ && $1 != "request_id" { print $1, $2, $3, 0, "all", $5, $7 }' \
            "$tmp/requests-$fast.csv" > "$tmp/seen.csv"
        is "$run, fast path $fast: starts and ends of requests" "$(differ "$tmp/golden.csv" "$tmp/seen.csv")" "within 1 ns"
    done
    for fast in on events; do
        same_file "$run: --fast-path $fast writes the same requests" "$tmp/requests-$fast.csv" "$tmp/requests-off.csv"
        same_file "$run: and the same report" "$tmp/report-$fast.json" "$tmp/report-off.json"
    done
}

runs=0
while IFS=, read -r run workload placement _; do
    [ "$run" != run ] || continue
    golden "$run" "$workload" "$placement"
    runs=$((runs + 1))
done < "$data/parity/index.csv"
is "all golden runs were there" $runs 15

# ---- real traces: their quantiles are such as Poisson arrivals of their rate, number and shares give ----

# Where one trace's figure lies among those of SEEDS draws: outside of all of them, if the simulator were
# the real system, once in (SEEDS + 1) / 2 times. Requests that do not wait tell of the profile alone, which is up to
# 2 % off: p50 and mean are left out where most do not wait.
seeds=99

simulated() { # TRACE PLACEMENT MODEL RATE REQUESTS SHARE0 SHARE1: "mean p50 p90 p95 p99" in ms, a line a seed
    local seed
    for ((seed = 1; seed <= seeds; seed++)); do
        orrery-sim run -p "$data/$2" -c "$tmp/gaps" --process poisson --merged --rate "$4" --requests "$5" \
            --service "$3_0:$6" --service "$3_1:$7" --seed $seed --json |
            awk -F '[ ,:]+' '/"latency_s"/ && !n { on = 1 } on && /"(mean|p50|p90|p95|p99)"/ { line = line " " 1000 * $3 }
                on && /}/ { on = 0; n = 1; print line }'
    done
}

place() { # COLUMN REAL: how many of the draws are below
    awk -v column="$1" -v real="$2" '{ below += $column < real } END { print below + 0 }' "$tmp/draws"
}

while IFS=, read -r trace _ _ placement model executable _ _ _ _ _ _ requests first second last _; do
    [ "$trace" != trace_id ] || continue
    rate=$(awk "BEGIN { printf \"%.6f\", ($requests - 1) / $last }")
    simulated "$trace" "$placement" "$model" "$rate/s" "$requests" "$first" "$second" > "$tmp/draws"
    is "$trace: $seeds draws" "$(wc -l < "$tmp/draws")" $seeds
    read -r mean p50 p90 p95 p99 < <(awk -F, -v trace="$trace" \
        '$1 == trace && $2 == "all" && $3 == "exec" { print $5, $12, $14, $15, $16 }' "$data/trace_quantiles.csv")
    waits=$(awk -F, -v executable="$executable" -v real="$p50" '$1 == executable { alone += 1000 * $3 }
        END { print (real > 1.05 * alone) }' "$data/cost/stages.csv")
    column=0
    for figure in "mean $mean" "p50 $p50" "p90 $p90" "p95 $p95" "p99 $p99"; do
        column=$((column + 1))
        [ $column -gt 2 ] || [ "$waits" = 1 ] || continue
        below=$(place $column "${figure#* }")
        ok "$trace: ${figure% *} of ${figure#* } ms has $below of $seeds draws below it" \
            test "$below" -gt 0 -a "$below" -lt $seeds
    done
done < "$data/manifest.csv"
done_testing
