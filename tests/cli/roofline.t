#!/bin/bash
# orrery-profile roofline: it ends, and its numbers can be; how large they are is the machine's affair.
. "$(dirname "$0")/lib.sh"
need orrery-profile
cd "$tmp" || exit 2

roofline() { timeout 120 orrery-profile roofline "$@"; }

exit_is 0 "with a tiny budget" roofline --budget 1ms -o deep/folder
is "no line is longer than 80 columns" "$(grep -cE '^.{81,}' <<< "$out")" 0
like "the text has the peak, the memory and the cache" "$out" "sgemm, GFLOP/s +[0-9.]+.memory read, GB/s +[0-9.]+.*Last-level cache: "
like "the file says what it is" "$(head -n 2 deep/folder/roofline.csv | tr '\n' '|')" '^# orrery: roofline 1\|threads,metric,ws_bytes,value,unit\|$'
is "every metric is there" "$(sed 1,2d deep/folder/roofline.csv | cut -d, -f2 | uniq | sort | uniq | tr '\n' ' ')" \
    "call_gemm_ns call_gemv_ns copy_bw idle_resume_ns page_fault_ns read_bw sgemm_peak timer_ns triad_bw ws_bw "
# shellcheck disable=SC2016  # awk, not shell
ok "all numbers are finite, and all but the wake-up positive" awk -F, 'NR > 2 {
    if ($4 !~ /^-?[0-9.]+(e[+-]?[0-9]+)?$/ || ($2 != "idle_resume_ns" && $4 + 0 <= 0)) { print; bad = 1 }
    if ($2 == "ws_bw" && $3 <= last) { print "sizes do not grow: " $0; bad = 1 }
    if ($2 == "ws_bw") last = $3
    if ($2 ~ /_bw$/ && ($4 < 1e6 || $4 > 1e14 || $5 != "bytes/s")) { print; bad = 1 }
} END { exit bad || NR < 12 }' deep/folder/roofline.csv

exit_is 0 "as JSON, with two thread counts" roofline --quick --budget 1ms --json --threads 2,1
json=$(tr -d ' \n' <<< "$out")
like "JSON names both caches" "$json" '^\{"schema":1,"llc_reported_bytes":[0-9]+,"llc_knee_bytes":[0-9]+,"llc_bytes":[0-9]+,"rows":\[\{"threads":2,"metric":"ws_bw","ws_bytes":32768,'
like "and the second count" "$json" '\{"threads":1,"metric":"sgemm_peak","ws_bytes":[0-9]+,"value":[0-9.]+,"unit":"GFLOP/s"\}'
unlike "no number is missing" "$json" '"value":null'

mkdir -p tree/proc
printf 'MemAvailable: 8192 kB\n' > tree/proc/meminfo
exit_is 0 "with little memory and no reported cache" roofline --budget 1ms --sysroot "$tmp/tree" -o small
like "it is said" "$(tr '\n' ' ' <<< "$out")" "the +system +reports +no +size"
is "a quarter of the memory is used at most" "$(awk -F, '$2 == "ws_bw" && $3 > 2097152' small/roofline.csv)" ""

exit_is 2 "a count of 0" roofline --threads 0
like "what was expected" "$err" "expected up to 8 counts from 1 to 256"
exit_is 2 "a count twice" roofline --threads 1,1
exit_is 2 "a bare budget" roofline --budget 2
exit_is 2 "an unexpected word" roofline quick
exit_is 2 "a folder that cannot be" roofline --budget 1ms -o /dev/null/x
full() { roofline --budget 1ms -o full > /dev/full; }
exit_is 2 "a full stdout" full
no_file "leaves no file" full/roofline.csv
done_testing
