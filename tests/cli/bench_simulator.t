#!/bin/bash
# `make bench` without its timings, the simulator's half: the scores from canned rows, the order of measuring, and
# the bench programs on sizes that take no time.
. "$(dirname "$0")/lib.sh"
score=$root/tools/bench-score-simulator
rows=$tmp/rows

# ---- rows with known answers
rows_of() { # FILE FIGURE UNIT YARDSTICK OURS...: the repeats of a figure; the yardstick is a little slower each time
    local file=$rows/$1.csv figure=$2 unit=$3 yardstick=$4 ours n=0
    shift 4
    [ -e "$file" ] || echo figure,repeat,ours,yardstick,unit > "$file"
    for ours; do
        n=$((n + 1))
        echo "$figure,$n,$ours,$((yardstick + n - 1)),$unit" >> "$file"
    done
}
canned() {
    local kind n
    rm -rf "$rows"
    mkdir -p "$rows"
    printf 'Chip, 2 cores (x86_64), Linux 6.1\ngcc 12, -O2; load 0.10; 2024-01-01T00:00Z\n' > "$rows/machine.txt"
    rows_of simulation "simulation S=4 M=50 D=200" ns 300 400 410 420
    echo "# simulation S=4 M=50 D=200: 7.00 events a request" >> "$rows/simulation.csv"
    rows_of simulation "simulation S=8 M=1000 D=256" ns 600 1000 900 1200 # 600 / 900: missed
    rows_of simulation "simulation S=2 M=2 D=2" ns 10 200 200 200
    rows_of simulation "simulation S=1 M=50 D=50" ns 30 150 150 150
    rows_of simulation load ns 100 120 130 125
    for kind in exponential bimodal "4 values" "all equal"; do
        for n in 10 100 1000; do
            rows_of queue "queue $kind $n" ns 30 10 11 12
        done
    done
    for kind in "S=4 M=2 D=8" "S=8 M=2 D=16" "S=4 M=50 D=200" "S=8 M=50 D=256" "S=4 M=50 D=200 stored"; do
        rows_of lindley "lindley $kind" ns 500 45 44 60
    done
    rows_of process "run rows 1000000 bytes" bytes 0 24000000
    rows_of process "run rows 10000000 bytes" bytes 0 204000000 # 20 a row
    rows_of process "run exact 1000000 bytes" bytes 0 11000000
    rows_of process "run exact 10000000 bytes" bytes 0 92000000 # 9 a request: missed
    rows_of process "run exact 10000000 seconds" s 0 2.0 2.1 2.2
    rows_of process "run exact 100000000 seconds" s 0 21 22 23
    rows_of process "run exact 100000000 bytes" bytes 0 812000000
    for n in 1000000 10000000 100000000; do
        rows_of process "run histogram $n seconds" s 0 $((n / 1000000))
        rows_of process "run histogram $n bytes" bytes 0 $((4900000 + n / 1000))
    done
    rows_of ingest ingest ns 320 60 61 62
    rows_of trace trace ns 30 2 2 2
    rows_of trace "trace memory" bytes 0 4096
    rows_of quantiles quantiles ns 160 4.5 4.6 4.7
    rows_of stream "stream M=1" ns 5 20 21 22
    rows_of stream "stream M=50" ns 5 40 41 42
    rows_of stream "stream M=1000" ns 5 60 61 62
    rows_of stream "stream M=50 merged" ns 5 30 31 32
    rows_of alpaserve "alpaserve S=4 M=50 D=200" ns 400 100 100 100
    for kind in "1000 0.5" "1000 0.9" "128 0.5" "128 0.9"; do
        rows_of llm "llm $kind" ns 18 2 2 3
    done
    rows_of llm "llm 32 0.9" ns 60 70 70 70 # slower at once: missed
    rows_of llm "llm plain 12" ns 1800 150 140 160
    rows_of llm "llm rtx4090" ms 20 3 2 4
    rows_of llm "llm azure" ms 10 250 240 260 # missed
    for kind in "star64 moderate" "ring64 moderate" "mesh64 moderate" "star16 overload"; do
        rows_of flows "flows $kind" ns 0 500 600 700
    done
    rows_of place "place exact period" ms 0 40 41 42
    rows_of place "place exact latency" ms 0 50 51 52
    rows_of place_judge "place search" s 0 6 7 8
    rows_of place_judge "place search events" s 0 13 12 14 # missed
}
of() { # REGEX: the lines of the table that match
    "$score" "$rows" | grep -E "$1"
}

canned
is "the whole table, from canned rows" "$("$score" "$rows")" "$(cat "$root/tests/cli/bench/expected-simulator.txt")"
ok "no line of the table is longer than 110 columns" awk 'length > 110 { exit 1 }' "$root/tests/cli/bench/expected-simulator.txt"

# ---- no bar is held by what was not measured
canned
sed -i '/,3,/d' "$rows/lindley.csv"
like "two repeats are shown, not judged" "$(of '^3 closed form / events: S=4 M=2')" '11.36 .* 2  not measured'
canned
rm "$rows/trace.csv" "$rows/quantiles.csv"
like "rows that are not there hold nothing" "$(of '^7 Chrome')" ' - .* 0  not measured'
like "nor does their memory" "$(of '^7 growth')" 'not measured'
like "nor do quantiles" "$(of '^8')" 'not measured'
like "and all of them are counted" "$("$score" "$rows")" '3 not measured'
canned
sed -i '/100000000/d' "$rows/process.csv"
like "growth takes ten times as many" "$(of '^5 time')" '<= 11 +5\.|not measured'
like "two sizes do not tell that memory is flat" "$(of '^4 growth')" 'not measured'
canned
sed -i 's/^run histogram 100000000 bytes.*/run histogram 100000000 bytes,1,5500000,0,bytes/' "$rows/process.csv"
sed -i 's/^run histogram 10000000 bytes.*/run histogram 10000000 bytes,1,4000000,0,bytes/' "$rows/process.csv"
sed -i 's/^run histogram 1000000 bytes.*/run histogram 1000000 bytes,1,4000000,0,bytes/' "$rows/process.csv"
like "memory that grows is not flat" "$(of '^4 growth')" '1.50 MB .*MISSED'

# ---- quantiles: so many ns, or so small a part of a run
canned
sed -i 's/,4\.[567],/,9.0,/' "$rows/quantiles.csv"
like "slow quantiles may be a small part of a run" "$(of '^8')" '<= 5 % +2.25 %.*held'
sed -i 's/,9\.0,/,90,/' "$rows/quantiles.csv"
like "or not" "$(of '^8')" 'MISSED'

# ---- runs by events, when they were asked for
canned
rows_of process "run events 1000000 bytes" bytes 0 1
rows_of process "run events 10000000 bytes" bytes 0 1
rows_of process "run events 1000000 seconds" s 0 1 1 1
rows_of process "run events 10000000 seconds" s 0 12 12 12
like "runs by events are to grow as slowly" "$(of '^5 the same by events')" '12.00 .*MISSED'

mkdir "$tmp/empty"
exit_is 2 "an empty folder is refused" "$score" "$tmp/empty"
rm -rf "$rows"
mkdir "$rows"
printf '\xff,,"\n,,,\n"\nlindley S=4 M=2 D=8,x,1,2,ns\n' > "$rows/lindley.csv"
like "rows that are none hold no bar" "$("$score" "$rows")" '0 of 43 bars held, 0 missed, 43 not measured'

# ---- the bench itself, with programs that only write down how they were called
fake() { # PROGRAM TEXT
    printf '#!/bin/bash\n%s\n' "$2" > "$1"
    chmod +x "$1"
}
programs=$tmp/out/tests/bench
mkdir -p "$programs" "$tmp/bin" "$tmp/scratch"
for name in simulation queue lindley ingest trace quantiles stream alpaserve llm flows place place_judge; do
    # shellcheck disable=SC2016  # for the fake
    fake "$programs/bench_$name" 'echo "${0##*/bench_} $*" >> "$FAKE_LOG"
[ "${0##*/bench_}" != "${FAKE_FAIL:-}" ] || { echo "figure,repeat,ours,yardstick,unit"; exit "${FAKE_STATUS:-1}"; }
[ "${0##*/bench_}" != queue ] || printf "queue bimodal 10,%s,1,2.5,ns\n" 1 2 3'
done
# shellcheck disable=SC2016  # for the fakes
fake "$programs/bench_files" 'if [ $# -eq 0 ]; then echo "cc 1, -O9"; else printf "%s\n" --rate 5 --service s0:1; fi'
# shellcheck disable=SC2016  # for the fakes
fake "$programs/bench_process" 'echo "process $*" >> "$FAKE_LOG"; echo "$1 seconds,$2,1,0,s"; echo "$1 bytes,$2,1000,0,bytes"'
# shellcheck disable=SC2016  # for the fakes
fake "$tmp/bin/orrery-sim" 'echo "sim $*" >> "$FAKE_LOG"; while [ $# -gt 0 ]; do [ "$1" != -o ] || : > "$2"; shift; done'
fake_bench() { # NAME=VALUE...
    rm -f "$tmp/log"
    env ORRERY_BIN="$tmp/bin" O="$tmp/out" TMPDIR="$tmp/scratch" BENCH=simulator FAKE_LOG="$tmp/log" "$@" "$root/tools/bench"
}
seen() { # REGEX: how many of the calls match
    grep -cE "$1" "$tmp/log"
}
exit_is 0 "the bench runs" fake_bench
like "and says where its time goes" "$out" 'bench: +[0-9]+ s  lindley 1000000 3'
like "it names the machine" "$out" 'cc 1, -O9; load'
like "and judges what was measured" "$out" 'bimodal, n = 10 +>= 2 +2.50 .*held'
like "the table is kept" "$(cat "$tmp/out/bench/simulator.txt")" 'bimodal, n = 10 +>= 2 +2.50 .*held'
is "a program is run once for all repeats" "$(seen '^(simulation|queue|lindley|ingest|trace|quantiles|stream|alpaserve|llm|flows|place|place_judge) ')" 12
is "whole runs of two sizes take turns" "$(grep -oE 'process run exact 1(0{7}|0{8}) [1-3]' "$tmp/log" | tr -dc '0-9 \n' | tr '\n' ,)" \
    '   10000000 1,   100000000 1,   10000000 2,   100000000 2,   10000000 3,   100000000 3,'
is "on the requests of the files" "$(seen 'process run exact .* run --placement .*/placement.csv .* --rate 5 --service s0:1 --requests')" 7
is "the histogram has one run of each size" "$(seen 'process run histogram .* --latency histogram')" 3
is "runs by events are not asked for" "$(seen 'fast-path')" 0
is "nothing is left" "$(ls "$tmp/scratch")" ''

exit_is 0 "BENCH_FULL" fake_bench BENCH_FULL=1
is "takes 10^9 requests" "$(seen 'run histogram 1000000000 1 ')" 1
is "and runs by events" "$(seen 'run events 10*0 [1-3] .*--fast-path off')" 6
exit_is 0 "BENCH_QUICK and BENCH_RUNS" fake_bench BENCH_QUICK=1 BENCH_RUNS=2
like "take small sizes" "$(cat "$tmp/log")" 'lindley 50000 2'
like "which the table tells" "$out" '1/20 of those that the bars are about'
ok "--quick does the same" env ORRERY_BIN="$tmp/bin" O="$tmp/out" TMPDIR="$tmp/scratch" FAKE_LOG="$tmp/log" \
    "$root/tools/bench-simulator" --quick

exit_is 1 "a program whose results differ fails the bench" fake_bench FAKE_FAIL=queue
like "by name" "$err" 'failed: queue'
unlike "and what it measured is not judged" "$out" 'bimodal, n = 10 +>= 2 +2.50'
exit_is 1 "so does one that cannot run" fake_bench FAKE_FAIL=trace FAKE_STATUS=2
like "all else is measured" "$out" 'bimodal, n = 10 +>= 2 +2.50 .*held'
exit_is 2 "no repeats" fake_bench BENCH_RUNS=0
exit_is 2 "an unknown option" "$root/tools/bench-simulator" --fast
rm "$programs/bench_lindley"
exit_is 2 "a program that is not built" fake_bench
like "is named" "$err" 'bench_lindley is not built here'

# ---- the programs, on sizes that take no time: what they compare must be equal
programs=$O/tests/bench
if [ ! -x "$programs/bench_lindley" ]; then
    skip "the bench programs" "$programs/bench_lindley is not built"
    done_testing
fi
export TMPDIR=$tmp/scratch
for call in "queue 2000 1" "simulation 500 1" "lindley 3000 1" "ingest 2000 3 1" "trace 2000 1" "quantiles 5000 1" \
    "stream 2000 1" "alpaserve 500 1" "llm 20 1 $tmp" "flows 200 1" "place 1" "place_judge 100 1" "place_search 1 1 20 alpaserve"; do
    # shellcheck disable=SC2086  # words
    exit_is 0 "bench_$call" "$programs"/bench_$call
    is "its rows have five fields" "$(printf '%s\n' "$out" | grep -v '^#' | awk -F, 'NF != 5')" ''
done
for call in "queue 0" "simulation 1x" "lindley 1 0" "ingest 10 99" "trace -1" "quantiles 1 2 3" "stream 1 100" "alpaserve 0" \
    "llm 0" "flows 0" "place 0" "place_judge 0" "place_search 0" "process" "process x 0 true" "files a b" "files $tmp/scratch 3 2 4 0.7"; do
    # shellcheck disable=SC2086  # words
    exit_is 2 "bench_$call is refused" "$programs"/bench_$call
done
exit_is 0 "bench_process runs a program" "$programs/bench_process" "run it" 2 sh -c 'echo lost'
like "and tells its time" "$out" '^run it seconds,2,[0-9.e-]+,0,s'
like "and its memory" "$out" 'run it bytes,2,[0-9.e+]+,0,bytes$'
exit_is 7 "the status of a program that fails is passed on" "$programs/bench_process" x 1 sh -c 'exit 7'
exit_is 127 "and that of one that is not there" "$programs/bench_process" x 1 "$tmp/nothing"
exit_is 0 "bench_files names its compiler" "$programs/bench_files"
like "and the flags" "$out" '(gcc|clang) .*-ffp-contract=off'
is "nothing is left" "$(ls "$tmp/scratch")" ''
done_testing
