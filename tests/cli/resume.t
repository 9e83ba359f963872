#!/bin/bash
# A profile that is killed again and again loses nothing: each --resume has all samples of before.
. "$(dirname "$0")/lib.sh"
need orrery-profile

mkdir -p "$tmp/root/sys/devices/system/cpu/cpu0/cache/index2" "$tmp/root/proc"
echo 256K > "$tmp/root/sys/devices/system/cpu/cpu0/cache/index2/size"
printf 'MemTotal: 1000000 kB\nMemAvailable: 500000 kB\n' > "$tmp/root/proc/meminfo"
cat > "$tmp/models.csv" << 'END'
model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,tied_lm_head,weight_bits,kv_bits,max_context
tiny,decoder,2,64,4,2,16,128,500,swiglu,rms,rope,no,32,32,64
other,decoder,2,64,4,4,16,128,500,swiglu,rms,rope,no,32,32,64
END
run() { # FOLDER OPTION...
    local folder=$1
    shift
    orrery-profile run --model tiny --models "$tmp/models.csv" --sysroot "$tmp/root" --counters off \
        --quick --budget 3s -o "$folder" "$@"
}
start() { # FOLDER OPTION...: in the background, as pid; not through run, whose shell would be killed instead
    local folder=$1
    shift
    orrery-profile run --model tiny --models "$tmp/models.csv" --sysroot "$tmp/root" --counters off \
        --quick --budget 3s -o "$folder" "$@" > "$tmp/out" 2>&1 &
    pid=$!
}
samples() { # recorded in the journal
    grep -cE '^(sample|anchor),' "$1/profile.journal" 2> /dev/null || true
}
rows() { # of a table, without what is measured
    grep -v '^#' "$1/kernels.csv" | cut -d, -f 2-16 | sort
}

ok "a run that nobody disturbs" run "$tmp/whole" --budget 1s
no_file "leaves no journal" "$tmp/whole/profile.journal"

folder=$tmp/killed
before=0 kills=0 least_gain=1
for wait in 0.02 0.05 0.3 0.11 0.45 0.2 0.08 0.6; do
    start "$folder" --resume
    sleep "$wait"
    kill -KILL $pid 2> /dev/null && kills=$((kills + 1))
    wait $pid 2> /dev/null
    after=$(samples "$folder")
    after=${after:-0}
    [ "$after" -ge "$before" ] || least_gain=0
    before=$after
done
is "was killed each time" "$kills" 8
is "no sample is lost by a kill" "$least_gain" 1
ok "something was measured before the last kill" test "$before" -gt 100
no_file "nothing is written before the end" "$folder/kernels.csv" "$folder/device.csv"

exit_is 2 "without --resume an unfinished run is not written over" run "$folder"
like "and the error says what to do" "$err" "profile.journal: an unfinished run is here: go on with --resume"
is "its samples are still there" "$(samples "$folder")" "$before"
exit_is 2 "another seed is refused" run "$folder" --resume --seed 7
like "by name" "$err" "measured with other options: seed is '7' here, '1' there"
exit_is 2 "another environment is refused" env OPENBLAS_VERBOSE=0 orrery-profile run --model tiny \
    --models "$tmp/models.csv" --sysroot "$tmp/root" --counters off --quick -o "$folder" --resume
like "by name" "$err" "measured on another machine: OPENBLAS_VERBOSE is '0' here, '' there"
sed -i 's/kv_heads,head_dim/&/; s/^tiny,decoder,2,/tiny,decoder,3,/' "$tmp/models.csv"
exit_is 2 "another shape of the same name is refused" run "$folder" --resume
like "by name" "$err" "measured for another model: shape is"
sed -i 's/^tiny,decoder,3,/tiny,decoder,2,/' "$tmp/models.csv"
is "all that changed nothing" "$(samples "$folder")" "$before"

start "$folder" --resume --budget 60s
sleep 0.5
exit_is 2 "two runs into one folder at once are refused" run "$folder" --resume
like "with a reason" "$err" "another run is measuring into this folder"
kill -TERM $pid
wait $pid
is "an interrupted run ends with status 2" $? 2
like "and says how to go on" "$(cat "$tmp/out")" "interrupted; [0-9]+ samples are kept in .*/profile.journal: the same command with --resume"
ok "and has kept what it measured" test "$(samples "$folder")" -ge "$before"
before=$(samples "$folder")

exit_is 0 "the last resume ends the run" run "$folder" --resume --raw
like "it tells what was there" "$err" ": $before samples are there already"
is "the table has every row of an undisturbed run" "$(rows "$folder")" "$(rows "$tmp/whole")"
no_file "the journal is gone" "$folder/profile.journal"
ok "raw samples: those of before and new ones" test "$(grep -cE '^(sample|anchor),' "$folder/samples.csv")" -gt "$before"
like "device.csv says that it was resumed" "$(cat "$folder/device.csv")" "resumed,[1-9]"

# a full disk: signals off, so that write fails instead
limited() { (
    trap "" XFSZ
    ulimit -f 200
    run "$@"
); }
exit_is 2 "a full disk ends a run" limited "$tmp/full"
like "with a reason, and what is kept" "$err" \
    "profile.journal: File too large; [0-9]+ samples are kept in .*: the same command with --resume"
ok "and they are" test "$(samples "$tmp/full")" -gt 1000
exit_is 0 "the run goes on when there is room again" run "$tmp/full" --resume

mkdir -p "$tmp/stuck/kernels.csv"
exit_is 2 "a table that cannot be written" run "$tmp/stuck"
like "does not cost the samples" "$err" "[0-9]+ samples are kept"
before=$(samples "$tmp/stuck")
rmdir "$tmp/stuck/kernels.csv"
exit_is 0 "nor has anything to be timed again" run "$tmp/stuck" --resume --raw
is "the samples are those" "$(grep -cE '^(sample|anchor),' "$tmp/stuck/samples.csv")" "$before"

start "$tmp/threads" --threads 1,2
sleep 1.4
kill -KILL $pid
wait $pid 2> /dev/null
before=$(samples "$tmp/threads")
exit_is 0 "thread counts go on each by itself" run "$tmp/threads" --threads 1,2 --resume --raw
ok "with all that was measured" test "$(grep -cE '^(sample|anchor),' "$tmp/threads/samples.csv")" -gt "$before"
is "and both have every row" "$(rows "$tmp/threads" | wc -l)" "$((2 * $(rows "$tmp/whole" | sed 1d | wc -l) + 1))"

cp "$folder/kernels.csv" "$tmp/kernels.csv"
start "$folder" --budget 60s
sleep 0.3
kill -KILL $pid
wait $pid 2> /dev/null
same_file "a finished table stays until the next is whole" "$folder/kernels.csv" "$tmp/kernels.csv"
done_testing
