#!/bin/bash
# `make bench` without its timings, the profiler's half (that of the simulator: bench_simulator.t): the scores from canned
# runs, the hogs, and what happens when it is stopped.
. "$(dirname "$0")/lib.sh"
score=$root/tools/bench-score
hog=$O/hog
runs=$tmp/runs

# ---- runs with known answers: run N of a kind is off by N times something
key=kernel,phase,impl,dtype,threads,m_tokens,gemm_n,gemm_k,heads,kv_len,batch,n,n_dirty,n_outlier,mean_ns
linear() { # KERNEL M N_DIRTY MEAN_NS
    echo "$1,any,gemm,f32,1,$2,768,768,0,0,1,100,$3,0,$4"
}
device() { # RUN EMULATED
    cat > "$runs/$1/device.csv" << CSV
# orrery: device 1
key,value,unit,source,reason
cpu,"Chip, 2 GHz",,,
cores_online,2,cores,,
arch,x86_64,,,
kernel,6.1,,,
emulated,$2,,,
blas_core,SkylakeX,,,
load_1min,0.10,tasks,,
stamp_overhead_ratio,0.0002,,,
CSV
}
anchor() { # MODEL PHASE S KV BATCH FORWARD_NS ERR_PCT
    awk -v row="$1,$2,$3,$4,$5,1,12,9,$6,1" -v forward="$6" -v err="$7" 'BEGIN {
        sum = forward * (1 + err / 100)
        printf "%s,%.3f,%.9f,%s,f32\n", row, sum, forward / sum, err }'
}
anchors_head() {
    printf '# orrery: anchors 1\nmodel,phase,s,kv_len,batch,threads,layers,n,forward_mean_ns,ci,sum_chain_ns,kappa,err_pct,dtype\n'
}
table() { # RUN M...: a table with these sizes, and decode on 1024 keys
    local run=$1 m
    shift
    mkdir -p "$runs/$run"
    {
        printf '# orrery: kernels 1\n# quality: good\n%s\n' $key
        for m in "$@"; do
            linear qkv "$m" 1 $((m * 1000))
        done
        echo "attn,decode,gemv,f32,1,1,0,0,12,1024,1,100,1,0,1000"
    } > "$runs/$run/kernels.csv"
    device "$run" no
}
small_table() { # RUN DIRTY MEAN_NS QUALITY
    mkdir -p "$runs/$1"
    {
        printf '# orrery: kernels 1\n# quality: %s\n%s\n' "$4" $key
        linear qkv 128 "$2" "$3"
        linear ffn_up 128 "$2" $(($3 * 2))
        linear oproj 1 "$2" $(($3 * (1 + $2) / 20)) # below 200 us: does not count
    } > "$runs/$1/kernels.csv"
    device "$1" no
}
canned() {
    local n shape m kernel
    rm -rf "$runs"
    mkdir -p "$runs"
    echo run,wall_s,status,message > "$runs/runs.csv"
    for n in 1 2 3; do
        table gpt2-$n 1 2 3 4 5 6 7 8 16 32 64 128 256 512
        {
            anchors_head
            for shape in 128 256 11 27 53 100 197; do
                anchor gpt2 prefill $shape $shape 1 $((shape * 1500000)) 0.$n
            done
            for shape in 256 1024 37 300 777; do
                anchor gpt2 decode 1 $shape 1 $((15000000 + n * 15000)) -1.$n
            done
            anchor gpt2 decode 4 256 4 40000000 4.$n
            anchor gpt2 decode 8 256 8 50000000 6.$n # beyond its bar
        } > "$runs/gpt2-$n/anchors.csv"
        {
            printf '# orrery: holdout 1\n%s\n' kernel,phase,impl,dtype,threads,gemm_n,gemm_k,m_tokens,kv_len,batch,measured_ns,ci_ns,predicted_ns,err_pct,origin
            for kernel in qkv oproj ffn_up ffn_down norm; do
                for m in 9 10 11 13 14 15 17 18 19 21 22 23 25 26 27 29 30 31 33 511; do
                    echo "$kernel,any,gemm,f32,1,768,768,$m,0,1,1000,5,1000,$([ $m = 511 ] && echo -$n || echo 0.$n),interpolated"
                done
            done
        } > "$runs/gpt2-$n/holdout.csv"
        for kernel in bert-base vit-base; do
            table $kernel-$n 128
            { anchors_head; anchor $kernel prefill 128 128 1 180000000 -0.$n; } > "$runs/$kernel-$n/anchors.csv"
        done
        table default-$n 1 2 3 4 512
        table quick-$n 1 4 512
        echo "default-$n,4$n.5,0," >> "$runs/runs.csv"
        echo "quick-$n,12.$n,0," >> "$runs/runs.csv" # 31 forwards: beyond its bar
        small_table quiet-$n 1 1000000 good
        small_table cpu-hog-$n 40 10${n}0000 good
        small_table memory-hog-$n 1 1000000 "disturbed: a neighbour"
        small_table hogged-$n 1 2000000 "disturbed: a neighbour"
        echo "strict-$n,9.0,1,orrery-profile run: refused by --strict: the table is disturbed" >> "$runs/runs.csv"
        # Rounds of 100 ns: the hog is wholly beside rounds 3 and 4, and touches 2 and 5.
        printf '# orrery: rounds 1\nthreads,proc,round,t_ns,verdict\n' > "$runs/memory-hog-$n/rounds.csv"
        for m in 0 1 2 3 4 5 6 7 8; do
            echo "1,0,$m,$((m * 100)),$(case $m in 3 | 4 | 7) echo noisy ;; *) echo ok ;; esac)"
        done >> "$runs/memory-hog-$n/rounds.csv"
        printf 'kind,n,begin_ns,on_ns,off_ns,end_ns\nmemory,1,250,299,501,520\n' > "$runs/memory-hog-$n.hogs.csv"
    done
}
of() { # REGEX: the lines of the table that match
    "$score" "$runs" | grep -E "$1"
}

canned
is "the whole table, from canned runs" "$("$score" "$runs")" "$(cat "$root/tests/cli/bench/expected.txt")"
ok "no line is longer than 100 columns" awk 'length > 100 { exit 1 }' "$root/tests/cli/bench/expected.txt"

# ---- each trick by which a bar could be held is seen through
canned
table gpt2-2 1 2 3 4 8 11 512
like "an unseen shape that is in the table is not a prediction" "$(of '4 unseen: prefill of 11')" MISSED
like "nor is the median of the unseen shapes" "$(of '4 unseen: median')" MISSED
like "nor is a size held out that is in the table" "$(of 'unseen m, qkv: median')" MISSED

canned
for n in 1 2 3; do
    table gpt2-$n 1 2 4
    table quick-$n 1 4
done
like "a table of few sizes that does not cover 1..512 is not enough" "$(of 'points needed')" MISSED
like "nor is it fast" "$(of '8 quick')" MISSED

canned
table gpt2-1 1 2 3 4 5 6 7 8 9 10 11 12 16 32 64 128 256 512
table gpt2-3 1 2 3 4 5 6 7 8 9 10 11 12 16 32 64 128 256 512
like "18 points are too many" "$(of 'points needed')" '<= 17 +18 +14 +18 +3  MISSED'

canned
sed -i 's/,12,9,/,4,9,/' "$runs"/gpt2-?/anchors.csv
like "forwards of 4 layers are no anchors" "$(of '^2 decode gpt2, 1 sequence on 256')" 'not measured'
like "and the reason is given" "$("$score" "$runs")" 'an anchor of 4 layers is no whole forward'

canned
rm "$runs"/gpt2-3/*.csv
like "two runs are shown, not judged" "$(of 'prefill 128: gpt2')" '0.15 %.*2  not measured'

canned
sed -i 's/,40,0,/,0,0,/' "$runs"/cpu-hog-?/kernels.csv
like "hogs that preempted nothing prove nothing" "$(of '^6 mean with CPU hogs')" MISSED

canned
sed -i 's/,noisy/,ok/' "$runs/memory-hog-2/rounds.csv"
like "one run that flags nothing misses the bar" "$(of '^6 rounds beside')" 'MISSED'
canned
sed -i 's/^# quality: disturbed.*/# quality: good/' "$runs/hogged-3/kernels.csv"
like "one unmarked table misses the bar" "$(of '^6 a memory hog all the time')" MISSED
canned
sed -i 's/^strict-1,9.0,1/strict-1,9.0,0/' "$runs/runs.csv"
like "one table that --strict lets through misses the bar" "$(of '^6 the same with')" MISSED
canned
sed -i 's/^default-1,41.5,0/default-1,41.5,2/' "$runs/runs.csv"
like "a run that failed has no wall time" "$(of '^8 full')" 'not measured'

canned
device gpt2-2 qemu
exit_is 1 "times of an emulator are refused" "$score" "$runs"
unlike "without a verdict" "$out" 'held|MISSED'
canned
sed -i /^emulated/d "$runs"/*/device.csv
exit_is 1 "and when nothing says that they are real" "$score" "$runs"
mkdir "$tmp/empty"
exit_is 2 "an empty folder is refused" "$score" "$tmp/empty"
rm -rf "$runs"
mkdir -p "$runs/gpt2-1"
for file in kernels anchors holdout rounds; do
    : > "$runs/gpt2-1/$file.csv"
    printf '\xff,,"\n,,,\n"' > "$runs/gpt2-1/$file.csv"
done
device gpt2-1 no
like "files without a row hold no bar" "$("$score" "$runs")" '0 of 34 bars held, 0 missed, 34 not measured'

# ---- the bench itself, with a profiler that only writes down how it was called
if [ ! -x "$hog" ]; then
    skip "the bench itself and its hog" "$hog is not built"
    done_testing
fi
bench=$root/tools/bench
mkdir "$tmp/bin"
cat > "$tmp/bin/orrery-profile" << 'SH'
#!/bin/bash
if [ "$1" = facts ]; then
    printf '{\n  "facts": [\n    {\n      "key": "emulated",\n      "value": "%s",\n' "${FAKE_EMULATED:-no}"
    printf '    },\n    {\n      "key": "llc_bytes",\n      "value": "1000000",\n    }\n  ]\n}\n'
    exit
fi
echo "$* [${OPENBLAS_NUM_THREADS-unset} ${OMP_NUM_THREADS-unset}] hogs: $(pgrep -c -x hog -P "$PPID")" >> "$FAKE_LOG"
[ -z "${FAKE_SLEEP:-}" ] || sleep "$FAKE_SLEEP"
echo "no: this, and that" >&2
exit 1
SH
chmod +x "$tmp/bin/orrery-profile"
mkdir -p "$tmp/out"
ln -s "$hog" "$tmp/out/hog"
fake_bench() { # NAME=VALUE...
    env ORRERY_BIN="$tmp/bin" O="$tmp/out" BENCH=profiler BENCH_RUNS=1 FAKE_LOG="$tmp/log" "$@" "$bench"
}
exit_is 2 "an unknown BENCH" fake_bench BENCH=both
like "names the choices" "$err" 'expected simulator, profiler or all'
exit_is 2 "no runs" fake_bench BENCH_RUNS=0
exit_is 2 "a budget without its unit" fake_bench BENCH_BUDGET=30
exit_is 1 "an emulated machine is refused" fake_bench FAKE_EMULATED=qemu
no_file "before anything is run" "$tmp/log" "$tmp/out/bench"

exit_is 2 "runs that all fail leave nothing to judge" fake_bench OPENBLAS_NUM_THREADS=2 OMP_NUM_THREADS=1
like "variables of the BLAS are named" "$out" 'OPENBLAS_NUM_THREADS=2 does not count here'
is "and unset in every run" "$(grep -c 'unset unset' "$tmp/log")" 10
is "hogs run beside the runs that want them" "$(grep -c 'hogs: 1' "$tmp/log")" 3
like "why a run failed is kept" "$(cat "$tmp/out/bench/runs/runs.csv")" 'gpt2-1,[0-9.]+,1,no: this; and that'

# ---- stopped in the middle: nothing is left
rm -f "$tmp/log"
fake_bench FAKE_SLEEP=0.2 > "$tmp/stopped.log" 2>&1 &
bench_pid=$!
for ((i = 0; i < 200; i++)); do
    ! grep -q cpu-hog "$tmp/log" 2> /dev/null || break
    sleep 0.05
done
kill -TERM $bench_pid
wait $bench_pid
is "a bench that is stopped says so" $? 143
hogs_gone() { # but for those that wait to be reaped
    local state
    for ((i = 0; i < 40; i++)); do
        # shellcheck disable=SC2009  # its state and path are wanted
        state=$(ps -C hog -o stat=,args= | grep -v "^Z" | grep -F -e "$hog" -e "$tmp/out/hog")
        [ -n "$state" ] || return 0
        sleep 0.05
    done
    echo "$state"
    return 1
}
ok "and leaves no hog" hogs_gone

# ---- the hog
exit_is 0 "hog: ends after its seconds" "$hog" memory 1 1 8
like "hog: names its moments" "$out" '^memory,1,[0-9]+,[0-9]+,[0-9]+,[0-9]+$'
# shellcheck disable=SC2016  # awk, not shell
ok "hog: in their order" awk -F, '{ exit !($3 <= $4 && $5 - $4 >= 1e9 && $5 <= $6) }' "$tmp/.out"
(bash -c '"$0" cpu 1 0 > /dev/null & sleep 0.2; kill -KILL $$' "$hog") 2> /dev/null
ok "hog: goes with its parent" hogs_gone
for arguments in "" "cpu" "cpu 0 1" "cpu 1 -1" "cpu 1 1 1" "memory 1 1 0" "disk 1 1" "cpu 1x 1" "cpu 99999999999999999999 1"; do
    # shellcheck disable=SC2086  # words
    exit_is 2 "hog: '$arguments' is refused" "$hog" $arguments
done
done_testing
