#!/bin/bash
# What is done with tables after they were measured: verify, diff, merge, predict.
. "$(dirname "$0")/lib.sh"
need orrery-profile

mkdir -p "$tmp/root/sys/devices/system/cpu/cpu0/cache/index2" "$tmp/root/proc"
echo 256K > "$tmp/root/sys/devices/system/cpu/cpu0/cache/index2/size"
printf 'MemTotal: 1000000 kB\nMemAvailable: 500000 kB\n' > "$tmp/root/proc/meminfo"
cat > "$tmp/models.csv" << 'END'
model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,tied_lm_head,weight_bits,kv_bits,max_context
tiny,decoder,2,64,4,2,16,128,500,swiglu,rms,rope,no,32,32,64
small,decoder,2,256,4,4,64,512,5000,gelu,layer,learned,yes,32,32,128
END
cd "$tmp" || exit 2
run() { # MODEL FOLDER OPTION...
    local model=$1 folder=$2
    shift 2
    orrery-profile run --model "$model" --models models.csv --sysroot root --counters off --quick -o "$folder" "$@"
}
verify() { # FOLDER OPTION...
    orrery-profile verify --models models.csv --sysroot root --budget 4s "$@"
}
asked_for() { # the exit status that the lines of $out ask for, by the rules of profiler/README.md
    awk '/^  what / { inside = 1; next }
        /^allowed/ { inside = 0 }
        !inside { next }
        { lines++; rows += !/^  whole/; unclear += / unclear$/ }
        / OUTSIDE$/ && /^  whole/ { forwards++ }
        / OUTSIDE$/ && !/^  whole/ { outside++ }
        END { print (forwards > 0 || 10 * outside > rows ? 1 : 2 * unclear > lines ? 2 : 0) }' <<< "$out"
}
# holds NAME FOLDER OPTION...: the table holds. A busy machine gets more time, as the error advises; on one that is too
# unsteady even so there is nothing to be told, and that is to follow from the lines.
holds() {
    local name=$1 budget status
    shift
    for budget in 4s 10s 25s; do
        out=$(verify "$@" --budget $budget 2> .err)
        status=$?
        err=$(cat .err)
        [ "$status $(asked_for)" = "2 2" ] || break
    done
    if [ "$status" -eq 2 ] && [[ $err == *"could not be verified: let the machine rest"* ]]; then
        like "$name: it cannot be told" "$out" "the machine is too unsteady now to tell: [0-9]+ of 14 intervals"
        skip "$name" "most times of this machine are 10 % and more apart now"
    else
        is "$name" "$status" 0
        like "$name: in words" "$out" "the table still holds: 0 of 12 rows and 0 of 2 whole forwards are outside"
    fi
    is "$name: as its lines say" "$(asked_for)" "$status"
}
# column FOLDER FILE COLUMN FACTOR: a number multiplied where it is not empty
scale() {
    awk -F, -v OFS=, -v column="$3" -v factor="$4" '/^#/ { print; next }
        !at { for (i = 1; i <= NF; i++) if ($i == column) at = i; print; next }
        { if ($at != "") $at = sprintf("%.3f", $at * factor); print }' "$1/$2" > "$1/$2.new" &&
        mv "$1/$2.new" "$1/$2"
}
# equal FOLDER FILE COLUMN OTHER: a column with the numbers of another where it is not empty
equal() {
    awk -F, -v OFS=, -v column="$3" -v other="$4" '/^#/ { print; next }
        !at { for (i = 1; i <= NF; i++) { if ($i == column) at = i; if ($i == other) from = i } print; next }
        { if ($at != "") $at = $from; print }' "$1/$2" > "$1/$2.new" && mv "$1/$2.new" "$1/$2"
}

ok "a table of one model" run small small --budget 3s --tokens 1:32 --kv 2:32
ok "a table of another" run tiny tiny --budget 2s --tokens 1:16 --kv 2:16

# wide intervals: what is tested is the comparison, not how steady the machine is
cp -r small wide && scale wide kernels.csv ci_hi_ns 3 && scale wide anchors.csv ci 200
files=$(ls wide small)
holds "a table with wide intervals holds" wide
is "no line is wider than 80 columns" "$(awk 'length($0) > 80' <<< "$out")" ""
drawn() { sed -n '/ what /,/^allowed/p' <<< "$out" | cut -c 1-34; }
first=$(drawn)
holds "again" wide
is "the same seed draws the same rows" "$(drawn)" "$first"
holds "another seed" wide --seed 2
unlike "draws others" "$(drawn)" "^$first$"
out=$(verify wide --json --points 40 2> .err)
case $? in
0) like "as JSON, with the verdict" "$out" '"verdict": "holds"' ;;
2) like "as JSON, with the verdict" "$out" '"verdict": "unclear",.*"conclusion": "the machine is too unsteady now' ;;
*) is "as JSON, it holds or cannot be told" "$out$(cat .err)" "" ;;
esac

# by more than a machine under load is slower at times, and sure of it; whole forwards, which would be named first, are not
cp -r small slow && cp wide/anchors.csv slow && scale slow kernels.csv mean_ns 8
for column in ci_lo_ns ci_hi_ns; do equal slow kernels.csv $column mean_ns; done
exit_is 1 "a table of eight times the costs does not hold" verify slow
like "in words" "$out" "the table does not hold: 12 of 12 rows .* most of all .* faster"
cp -r wide drift && scale drift anchors.csv forward_mean_ns 20 && scale drift anchors.csv ci 0.001
exit_is 1 "an anchor alone decides" verify drift
like "by name" "$out" "most of all whole (decode|prefill)"

cp -r small pi && sed -i 's/^arch,[^,]*/arch,z80/' pi/device.csv
exit_is 2 "a table of another machine is refused" verify pi
like "by what differs" "$err" "pi: measured on another machine: arch is '.*' here, 'z80' there"
exit_is 2 "and so is one of another environment" env OMP_DYNAMIC=1 orrery-profile verify small \
    --models models.csv --sysroot root
like "by name" "$err" "OMP_DYNAMIC is '1' here, '' there"
exit_is 2 "a model that the table does not know" verify small --model tiny
like "with a reason" "$err" "small: no measured rows of tiny"
cp -r small half && rm half/anchors.csv
exit_is 2 "half a table" verify half
like "by what is missing" "$err" "half a table: anchors.csv is missing"
cp -r small layers && sed -i 's/,f32,2,/,f32,9,/' layers/anchors.csv
exit_is 2 "an anchor that the model cannot have" verify layers
orrery-profile verify --models models.csv --sysroot root --budget 60s small > a 2>&1 &
pid=$!
for ((i = 0; i < 600; i++)); do # from here on the signal is held
    ! grep -q 'measuring small again' a || break
    sleep 0.05
done
kill -TERM $pid
wait $pid
is "an interrupted verification ends with status 2" $? 2
like "and says so" "$(cat a)" "orrery-profile verify: interrupted"
is "nothing was written anywhere" "$(ls wide small)" "$files"

exit_is 0 "a table agrees with itself" orrery-profile diff small small
like "in words" "$out" "the tables agree: 0 of [0-9]+ common rows and 0 of 2 whole forwards"
exit_is 1 "and not with eight times its costs" orrery-profile diff small slow --rows 3
like "in words" "$out" "the median row takes 8.000 times as long in the second"
like "by so much" "$out" "\+700.0 %"
is "three rows, worst first" "$(grep -c ' %' <<< "$out")" 3
is "no line is wider than 80 columns" "$(awk 'length($0) > 80' <<< "$out")" ""
(grep '^#' small/kernels.csv; grep -v '^#' small/kernels.csv | head -n 1
    grep -v '^#' small/kernels.csv | tail -n +2 | sort -R --random-source=models.csv) > permuted
mkdir mixed && cp small/*.csv mixed && cp permuted mixed/kernels.csv
orrery-profile diff small slow --rows 999 > a
orrery-profile diff mixed slow --rows 999 > b
same_file "the order of rows does not matter" a b
exit_is 1 "another machine is told of" orrery-profile diff slow pi
like "by what differs" "$out" "measured on another machine: arch is"
exit_is 1 "as JSON" orrery-profile diff small slow --json
like "with a verdict" "$out" '"is_different": true'
exit_is 2 "nothing in common is trouble" orrery-profile diff small tiny
exit_is 2 "and so is no table" orrery-profile diff small nowhere
exit_is 2 "and one folder" orrery-profile diff small

exit_is 0 "two models become one table" orrery-profile merge small tiny -o both
rows() { grep -cv '^#' "$1/kernels.csv"; }
is "with all rows" "$(($(rows both) + 1))" "$(($(rows small) + $(rows tiny)))"
is "and all tiles" "$(grep -v '^#' both/interp.csv | sort)" \
    "$( (grep -v '^#' small/interp.csv; grep -v '^#' tiny/interp.csv | tail -n +2) | sort)"
is "processes of the rounds stay apart" "$(sed 1,2d both/rounds.csv | cut -d, -f 4,5 | sort | uniq -d)" ""
like "and the facts say whence" "$(cat both/device.csv)" "merged_from,small tiny"
for model in small tiny; do
    is "a step of $model costs the same as before" \
        "$(orrery-profile predict both --models models.csv --model $model --tokens 11)" \
        "$(orrery-profile predict $model --models models.csv --tokens 11)"
done
exit_is 2 "a table of several models must be told which" verify both
like "and says so" "$err" "both holds rows of several models, such as tiny and small: --model is needed"
cp -r wide narrow && scale narrow kernels.csv mean_ns 1.01
exit_is 0 "rows that several have" orrery-profile merge small narrow -o double
like "are taken from the narrower interval" "$out" "rows were measured more than once; the narrower"
exit_is 0 "so the result" orrery-profile diff small double
like "is that one" "$out" "the tables agree: .*1.000 times"
exit_is 0 "what disagrees" orrery-profile merge small slow -o disagreeing
like "is told of" "$out" "warning: [0-9]+ of them disagree by more than 3 %"
before=$(cat both/*.csv)
exit_is 2 "a table that is there is not written over" orrery-profile merge small tiny -o both
exit_is 2 "nor that of one model by a run of another" run tiny small
like "which says what to do" "$err" "small holds a table of model 'small', .*orrery-profile merge"
exit_is 2 "nor one of those merged" orrery-profile merge small tiny -o small
exit_is 2 "two machines are refused" orrery-profile merge small pi -o none
like "by what differs" "$err" "small and pi: measured on another machine: arch is"
exit_is 2 "half a table too" orrery-profile merge small half -o none
head -c 3000 small/kernels.csv > layers/kernels.csv
exit_is 2 "and one that is cut off" orrery-profile merge small layers -o none
cp -r tiny columns && sed -i 's/psi_us/psi_ms/' columns/rounds.csv
exit_is 2 "and other columns" orrery-profile merge small columns -o none
exit_is 2 "and no folder to write into" orrery-profile merge small tiny -o models.csv
no_file "none of them leaves a folder" none
is "all that changed nothing" "$(cat both/*.csv)" "$before"
done_testing
