#!/bin/bash
# Same inputs and seed, same bytes: a second run, events and closed form, other orders of columns and rows, no
# optimisation, all of it, other compilers.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/modes.sh"
need orrery-sim

data=$root/tests/golden/data

simulate() { # PROGRAM FOLDER DATA: everything that a run writes, in FOLDER
    local program=$1 folder=$2 data=$3 arrivals process
    mkdir -p "$folder"
    "$program" generate --process gamma --cv 2 --rate 20/s --duration 20s --service chat --prompt lognormal:40:1 \
        --output uniform:1:30 --seed 5 -o "$folder/open.csv" > "$folder/generate.txt" &&
        "$program" generate --clients 3 --think exp:0.2s --requests 60 --service chat --prompt exp:30 \
            --output constant:7 --seed 5 -o "$folder/closed.csv" >> "$folder/generate.txt" || return
    for process in exponential gamma pareto; do
        "$program" import azure - --process "$process" --seed 5 -o "$folder/import-$process.csv" \
            < "$data/foreign/azure-calls.csv" > /dev/null || return
    done
    for arrivals in open closed; do
        # In the folder, so that the same names stand in every report.
        (cd "$folder" && "$program" run --placement "$data/chat.csv" --workload "$arrivals.csv" \
            --costs "$data/costs" --cluster "$data/cluster" --seed 5 --requests-out "$arrivals-requests.csv" \
            --stages-out "$arrivals-stages.csv" --transfers-out "$arrivals-transfers.csv" \
            --chrome-trace "$arrivals-trace.json" --json > "$arrivals.json") || return
    done
}

# Every process, and what becomes of its workloads, in FOLDER.
draw() { # PROGRAM FOLDER
    local program=$1 folder=$2 process
    mkdir -p "$folder/drawn" && cd "$folder/drawn" || return
    printf 'from_s,rate_per_s,to_rate_per_s\n0,5,50\n7,50,0\n9,3,\n' > day.csv
    printf 'state,rate_per_s,q_per_s\na,40,-1 0.4 0.6\nb,3,0.2 -0.3 0.1\nc,0,1 0.5 -1.5\n' > chain.csv
    for process in "poisson --profile day.csv --period 11s" "gamma --cv 3 --profile day.csv --period 11s" \
        "pareto --shape 1.7 --rate 30" "mmpp --mmpp chain.csv" "mmpp --states 1s:50/s,3s:2/s --merged" \
        "poisson --rate 3 --turns uniform:1:5 --think lognormal:2s:1"; do
        # shellcheck disable=SC2086  # words
        "$program" generate --process $process --duration 60s --services 7 --split power-law --prompt gamma:50:2 \
            --output normal:30:20 --items uniform:1:3 -o "${process//[ \/:]/_}.csv" --describe --json || return
    done > described.json
    "$program" workload scale pareto_*.csv --cv 2.5 --rate 44/s -o scaled.csv || return
    flows > case.scn
    "$program" network case.scn --json > network.json
}

# What every planner places, and what bears which rate, in FOLDER.
choose() { # PROGRAM FOLDER
    local program=$1 folder=$2 box="--cluster $data/cluster --costs $data/costs/board" load
    load="--service chat=gpt2-4l --prompt uniform:4:30 --output constant:5 --slo 300ms"
    mkdir -p "$folder/chosen" && cd "$folder/chosen" || return
    "$program" generate --process poisson --rate 12/s --requests 40 --service chat --prompt uniform:4:30 \
        --output constant:5 -o w.csv > generate.txt || return
    # shellcheck disable=SC2086  # words
    "$program" compare --service chat=gpt2-4l $box --workload w.csv --slo 300ms --csv table.csv --placements-out found \
        --json > compare.json &&
        "$program" capacity --boards kinds --rate 15/s $load $box --requests 100 --json -o boards.csv > boards.json &&
        "$program" capacity -p boards.csv ${load/chat=gpt2-4l/chat} $box --requests 100 --json > capacity.json
}

# 500 flows over 12 resources, of awkward rates, weights and sizes.
flows() {
    awk 'function next_of(n) { x = (x * 16807) % 2147483647; return x % n }
        BEGIN {
            x = 5
            for (i = 0; i < 12; i++) print "R r" i, (1 + next_of(1000)) * 12345.678, i % 5 == 4
            for (i = 0; i < 500; i++) {
                line = "F " next_of(5000) / 1000 " " next_of(3000000) / 7 " " next_of(9) / 1000 " "
                line = line (next_of(4) ? 0 : 54321.1) " " (1 + next_of(3)) / 2 " " 1 + (n = next_of(4))
                for (k = 0; k <= n; k++) line = line " " next_of(12) " " (1 + next_of(7)) / 3
                print line
            }
        }'
}

permuted() { # FILE: the same table with its columns in another order (last first)
    awk -F, -v OFS=, '/^#/ { print; next } { line = $NF; for (i = NF - 1; i > 0; i--) line = line OFS $i; print line }' "$1"
}

simulator=$ORRERY_BIN/orrery-sim
ok "every kind of workload" draw "$simulator" "$tmp/first"
ok "and again" draw "$simulator" "$tmp/second"
ok "a run" simulate "$simulator" "$tmp/first" "$data"
ok "the same run again" simulate "$simulator" "$tmp/second" "$data"
ok "every planner" choose "$simulator" "$tmp/first"
ok "and again" choose "$simulator" "$tmp/second"
ok "every mode" modes "$simulator" "$tmp/first/modes"
ok "and again" modes "$simulator" "$tmp/second/modes"
ok "gives the same bytes" diff -r "$tmp/first" "$tmp/second"
is "and simulated all requests" "$(grep -c ',ok' "$tmp/first/closed-requests.csv")" 60
for mode in fast stream dlsim wires; do
    same_file "$mode: events and closed form write the same report" "$tmp/first/modes/$mode-on.json" "$tmp/first/modes/$mode-off.json"
done
same_file "and the same requests" "$tmp/first/modes/wires-on.csv" "$tmp/first/modes/wires-off.csv"
for status in dropped failed refused; do
    ok "some requests were $status" grep -lq ",$status," "$tmp/first/modes/"*-requests.csv
done

cp -r "$data" "$tmp/data"
for table in chat.csv cluster/devices.csv cluster/links.csv costs/board/kernels.csv; do
    permuted "$data/$table" > "$tmp/data/$table"
done
mkdir "$tmp/same-names"
cp -r "$data" "$tmp/same-names/data"
ok "a run on copies of the inputs" simulate "$simulator" "$tmp/third" "$tmp/same-names/data"
rm -r "$tmp/same-names/data" && mv "$tmp/data" "$tmp/same-names/data"
ok "a run on tables whose columns stand in another order" simulate "$simulator" "$tmp/fourth" "$tmp/same-names/data"
for file in open-requests.csv closed-requests.csv open-stages.csv closed-stages.csv open-transfers.csv; do
    same_file "columns in another order: the same $file" "$tmp/fourth/$file" "$tmp/third/$file"
done

# Rows in another order, where their order means nothing.
shuffled() { # FILE: the same table, the last row first
    awk '/^#/ { print; next } { row[++n] = $0 } END { print row[1]; for (i = n; i > 1; i--) print row[i] }' "$1"
}
rm -r "$tmp/same-names/data" && cp -r "$data" "$tmp/same-names/data"
for table in cluster/devices.csv costs/board/kernels.csv; do
    shuffled "$data/$table" > "$tmp/same-names/data/$table"
done
shuffled "$root/workloads/models.csv" > "$tmp/models.csv"
ok "a run on tables whose rows stand in another order" simulate "$simulator" "$tmp/fifth" "$tmp/same-names/data"
for file in open-requests.csv closed-requests.csv open-stages.csv closed-stages.csv open-transfers.csv; do
    same_file "rows in another order: the same $file" "$tmp/fifth/$file" "$tmp/third/$file"
done
(cd "$tmp/first" && orrery-sim run --placement "$data/chat.csv" --workload open.csv --costs "$data/costs" --cluster "$data/cluster" \
    --models "$tmp/models.csv" --seed 5 --requests-out "$tmp/models-requests.csv" > /dev/null)
same_file "models in another order: the same requests" "$tmp/models-requests.csv" "$tmp/first/open-requests.csv"

# Other builds of the same source.
build() { # NAME MAKE-ARGUMENT...
    local name=$1
    shift
    make -C "$root" -s -j2 O="build/$name" "$@" "build/$name/bin/orrery-sim"
}
ok "a build without optimisation" build debug BUILD=debug CC="${CC:-gcc}"
ok "runs" simulate "$root/build/debug/bin/orrery-sim" "$tmp/debug" "$data"
ok "draws" draw "$root/build/debug/bin/orrery-sim" "$tmp/debug"
ok "plans" choose "$root/build/debug/bin/orrery-sim" "$tmp/debug"
ok "runs in every mode" modes "$root/build/debug/bin/orrery-sim" "$tmp/debug/modes"
ok "and gives the same bytes" diff -r "$tmp/first" "$tmp/debug"
ok "a build for this very processor" build native CC="${CC:-gcc}" CFLAGS='-O3 -march=native'
ok "runs" simulate "$root/build/native/bin/orrery-sim" "$tmp/native" "$data"
ok "draws" draw "$root/build/native/bin/orrery-sim" "$tmp/native"
ok "plans" choose "$root/build/native/bin/orrery-sim" "$tmp/native"
ok "runs in every mode" modes "$root/build/native/bin/orrery-sim" "$tmp/native/modes"
ok "and gives the same bytes" diff -r "$tmp/first" "$tmp/native"
if command -v clang > /dev/null; then
    ok "a build by clang with -O3" build clang CC=clang CFLAGS=-O3
    ok "runs" simulate "$root/build/clang/bin/orrery-sim" "$tmp/clang" "$data"
    ok "draws" draw "$root/build/clang/bin/orrery-sim" "$tmp/clang"
    ok "plans" choose "$root/build/clang/bin/orrery-sim" "$tmp/clang"
    ok "runs in every mode" modes "$root/build/clang/bin/orrery-sim" "$tmp/clang/modes"
    ok "and gives the same bytes" diff -r "$tmp/first" "$tmp/clang"
else
    skip "a build by clang gives the same bytes" "clang is not installed"
fi

# Another seed is another run.
(cd "$tmp" && orrery-sim generate --process poisson --rate 20/s --duration 20s --service chat --prompt exp:30 \
    --output constant:7 --seed 6 -o six.csv && orrery-sim generate --process poisson --rate 20/s --duration 20s \
    --service chat --prompt exp:30 --output constant:7 --seed 7 -o seven.csv) > "$tmp/seeds.txt"
ok "another seed gives other arrivals" test -s "$tmp/six.csv" -a -s "$tmp/seven.csv"
exit_is 1 "in other bytes" diff -q "$tmp/six.csv" "$tmp/seven.csv"
done_testing
