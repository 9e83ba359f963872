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
samples() { # recorded in the journal, of variant $2 alone
    grep -cE "^(sample|anchor),${2:-}" "$1/profile.journal" 2> /dev/null || true
}
until_samples() { # FOLDER COUNT [VARIANT]: more than so many are recorded; two minutes at most
    local i count
    for ((i = 0; i < 6000; i++)); do
        count=$(samples "$1" "${3:-}")
        [ "${count:-0}" -le "$2" ] || return 0
        sleep 0.02
    done
    return 1
}
scouted() { # what the scout has found: one line for each thread count
    grep '^scout,' "$1"
}
# Which sizes are measured is decided by the scout, and on products of microseconds it does not find the same period
# twice. So this is the undisturbed run to compare with: of a journal that holds the scout's lines and no sample.
run_alike() { # FOLDER JOURNAL OPTION...
    local folder=$1 journal=$2
    shift 2
    mkdir "$folder"
    grep -E '^(#|kind,|scout,)' "$journal" > "$folder/profile.journal"
    run "$folder" --resume "$@"
}
rows() { # of a table, without what is measured
    grep -v '^#' "$1/kernels.csv" | cut -d, -f 2-16 | sort
}

ok "a run that nobody disturbs" run "$tmp/whole" --budget 1s
no_file "leaves no journal" "$tmp/whole/profile.journal"
ok "a run of seven processes" run "$tmp/seven" --processes 7 --budget 4s
is "that have all measured" "$(grep -v '^#' "$tmp/seven/rounds.csv" | sed 1d | cut -d, -f4 | sort -u | wc -l)" 7

folder=$tmp/killed
before=0 kills=0 least_gain=1
# s: after so many seconds, before or while it looks at the device; +: as soon as it has so many samples more
for moment in 0.02s 0.05s 0.3s +0 0.11s +400 +30 0.2s +150 0.08s; do
    start "$folder" --resume --budget 60s
    case $moment in
    *s) sleep "${moment%s}" ;;
    +*) until_samples "$folder" $((before + ${moment#+})) ;;
    esac
    kill -KILL $pid 2> /dev/null
    wait $pid 2> /dev/null
    [ $? -ne 137 ] || kills=$((kills + 1))
    after=$(samples "$folder")
    after=${after:-0}
    [ "$after" -ge "$before" ] || least_gain=0
    before=$after
done
is "was killed each time" "$kills" 10
is "no sample is lost by a kill" "$least_gain" 1
ok "something was measured before the last kill" test "$before" -gt 400
is "the device was scouted once, however often it was killed" "$(scouted "$folder/profile.journal" | wc -l)" 1
scout=$(scouted "$folder/profile.journal")
no_file "nothing is written before the end" "$folder/kernels.csv" "$folder/device.csv"

exit_is 2 "without --resume an unfinished run is not written over" run "$folder"
like "and the error says what to do" "$err" "profile.journal: an unfinished run is here: go on with --resume"
is "its samples are still there" "$(samples "$folder")" "$before"
exit_is 2 "another seed is refused" run "$folder" --resume --seed 7
like "by name" "$err" "measured with other options: seed is '7' here, '1' there"
exit_is 2 "another number of processes is refused" run "$folder" --resume --processes 7
like "by name" "$err" "measured with other options: processes is '7' here, '3' there"
exit_is 2 "fewer than two processes are refused" run "$tmp/one" --processes 1
exit_is 2 "another environment is refused" env OPENBLAS_VERBOSE=0 orrery-profile run --model tiny \
    --models "$tmp/models.csv" --sysroot "$tmp/root" --counters off --quick -o "$folder" --resume
like "by name" "$err" "measured on another machine: OPENBLAS_VERBOSE is '0' here, '' there"
sed -i 's/kv_heads,head_dim/&/; s/^tiny,decoder,2,/tiny,decoder,3,/' "$tmp/models.csv"
exit_is 2 "another shape of the same name is refused" run "$folder" --resume
like "by name" "$err" "measured for another model: shape is"
sed -i 's/^tiny,decoder,3,/tiny,decoder,2,/' "$tmp/models.csv"
is "all that changed nothing" "$(samples "$folder")" "$before"

start "$folder" --resume --budget 60s
until_samples "$folder" "$before"
exit_is 2 "two runs into one folder at once are refused" run "$folder" --resume
like "with a reason" "$err" "another run is measuring into this folder"
kill -TERM $pid
wait $pid
is "an interrupted run ends with status 2" $? 2
like "and says how to go on" "$(cat "$tmp/out")" "interrupted; [0-9]+ samples are kept in .*/profile.journal: the same command with --resume"
ok "and has kept what it measured" test "$(samples "$folder")" -gt "$before"
before=$(samples "$folder")
cp "$folder/profile.journal" "$tmp/journal"

exit_is 0 "the last resume ends the run" run "$folder" --resume --raw
like "it tells what was there" "$err" ": $before samples are there already"
ok "an undisturbed run on the same sizes" run_alike "$tmp/alike" "$tmp/journal" --budget 1s
is "the table has every row of an undisturbed run" "$(rows "$folder")" "$(rows "$tmp/alike")"
is "as many as of one with a scout of its own" "$(rows "$folder" | wc -l)" "$(rows "$tmp/whole" | wc -l)"
is "and the tiles that the first scout found" "$(grep '^tile_period,' "$folder/device.csv" | cut -d, -f 2)" \
    "$(cut -d, -f 4 <<< "$scout")"
no_file "the journal is gone" "$folder/profile.journal"
ok "raw samples: those of before and new ones" test "$(grep -cE '^(sample|anchor),' "$folder/samples.csv")" -gt "$before"
like "device.csv says that it was resumed" "$(cat "$folder/device.csv")" "resumed,[1-9]"

# a full disk: signals off, so that write fails instead
limited() { (
    trap "" XFSZ
    ulimit -f 200
    run "$@" --budget 60s
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
until_samples "$tmp/threads" 0 1
kill -KILL $pid
wait $pid 2> /dev/null
before=$(samples "$tmp/threads")
cp "$tmp/threads/profile.journal" "$tmp/journal"
exit_is 0 "thread counts go on each by itself" run "$tmp/threads" --threads 1,2 --resume --raw
ok "with all that was measured" test "$(grep -cE '^(sample|anchor),' "$tmp/threads/samples.csv")" -gt "$before"
is "each was scouted once" "$(scouted "$tmp/journal" | cut -d, -f 2)" $'0\n1'
ok "both without a disturbance" run_alike "$tmp/threads_alike" "$tmp/journal" --threads 1,2 --budget 1s
is "and both have every row" "$(rows "$tmp/threads")" "$(rows "$tmp/threads_alike")"
is "twice those of one" "$(rows "$tmp/threads" | wc -l)" "$((2 * $(rows "$tmp/whole" | sed 1d | wc -l) + 1))"

cp "$folder/kernels.csv" "$tmp/kernels.csv"
start "$folder" --budget 60s
sleep 0.3
kill -KILL $pid
wait $pid 2> /dev/null
same_file "a finished table stays until the next is whole" "$folder/kernels.csv" "$tmp/kernels.csv"
done_testing
