#!/bin/bash
# What a run has on disk while it goes on: R.csv.partial beside R.csv. A coordinator that is killed leaves it, and
# it can be read; one that ends by itself takes it away.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
need orrery-run
need orrery-sim
cd "$tmp" || exit 2

tiny_models models.csv
tiny_pipeline two.csv
{ # more than a pipe of work, for longer than the test lasts
    echo 'request_id,arrival_s,service,prompt_tokens,output_tokens,client,think_s'
    for ((i = 0; i < 40000; i++)); do echo "$i,,chat,16,4,c$((i % 3)),0.005"; done
} > long.csv
head -n 41 long.csv > short.csv
outs=(--requests-out r.csv --stages-out s.csv --transfers-out t.csv)
partials=(r.csv.partial s.csv.partial t.csv.partial)
run() { timeout 60 orrery-run --local --models models.csv --placement two.csv "$@"; }
rows() { # FILE: of whole lines behind its head
    grep -v '^#' "$1" 2> /dev/null | tail -n +2 | wc -l
}
await_rows() { # FILE COUNT: within 20 s
    for ((n = 0; n < 200; n++)); do
        [ "$(rows "$1")" -ge "$2" ] && return 0
        sleep 0.1
    done
    return 1
}
begin() { # OPTION...: a long run in the background
    rm -f ./*.csv.partial r.csv s.csv t.csv
    timeout 60 orrery-run --local --models models.csv --placement two.csv --workload long.csv "${outs[@]}" "$@" \
        > run.out 2> run.err &
    coordinator=$!
}
check_itself() { # REQUESTS STAGES
    orrery-sim check --predicted "$1" --real "$1" --predicted-stages "$2" --real-stages "$2"
}

# ---- killed
begin
ok "rows are there while the run goes on" await_rows r.csv.partial 50
no_file "under another name than the whole tables" r.csv s.csv t.csv
before=$(rows r.csv.partial)
sleep 1
ok "new ones come each second" test "$(rows r.csv.partial)" -gt "$before"
kill -9 "$(pgrep -P $coordinator)"
wait $coordinator 2> /dev/null
no_file "a coordinator that is killed leaves no table that could be taken for a whole one" r.csv s.csv t.csv
for file in "${partials[@]}"; do
    like "$file says what it is" "$(head -n 2 "$file")" "# orrery: [a-z]+ 1.# partial: .*the run had not ended"
done
kept=$(rows r.csv.partial)
ok "it has what was known" test "$kept" -gt "$before"
exit_is 0 "check reads it" check_itself r.csv.partial s.csv.partial
like "all of it" "$out" "($kept|$((kept - 1))) pairs; 0 in one file only"
like "and says that it is not whole" "$err" "orrery-sim check: r.csv.partial: what was known of a run that had not ended"
like "so is the stage trace" "$err" "orrery-sim check: s.csv.partial: what was known of a run that had not ended"
steps_of_ended() { # four steps in two stages each, but of the last few, whose records may have been on their way
    awk -F, 'FNR == NR { if ($1 ~ /^[0-9]+$/ && NR < '$((kept - 20))') ended[$1] = 0; next }
        $1 in ended { ended[$1]++ } END { for (r in ended) if (ended[r] != 8) { print r, ended[r]; bad = 1 } exit bad }' \
        r.csv.partial s.csv.partial
}
ok "every step of requests that have ended is there" steps_of_ended
is "and each once" "$(grep -v '^#' s.csv.partial | awk -F, '$8 != "" { print $1, $4, $5, $8 }' | sort | uniq -d | wc -l)" 0
ok "transfers too" test "$(grep -c ',d0,d1,' t.csv.partial)" -gt "$kept"

# a kill in the middle of a write
grep -q . r.csv.partial && printf '39999,chat,0,1.5,1.6,1.' >> r.csv.partial
exit_is 0 "a row that was cut off is left out" check_itself r.csv.partial s.csv.partial
unlike "it is" "$out" "request 39999"
grep -v '^# partial' r.csv.partial > cut.csv
exit_is 2 "where nothing says that it was cut off it is an error" check_itself cut.csv s.csv.partial
like "with its place" "$err" "cut.csv:[0-9]+: 6 fields, but the header names 13"

# ---- replays: no row of an attempt that did not count
printf 'service,replica,stage,device,model\nchat,0,0,d0,tiny\nchat,1,0,d1,tiny\n' > replicas.csv
printf 'time_s,target,event\n0.5,d1,down\n0.6,d1,up\n1.2,d0,down\n1.3,d0,up\n' > drill.csv
begin --placement replicas.csv --on-failure replay --events drill.csv
await_rows r.csv.partial 400
kill -9 "$(pgrep -P $coordinator)"
wait $coordinator 2> /dev/null
exit_is 0 "replays: check reads it" check_itself r.csv.partial s.csv.partial
is "replays: each step once" "$(grep -v '^#' s.csv.partial | awk -F, '$8 != "" { print $1, $4, $5, $8 }' | sort | uniq -d | wc -l)" 0

# ---- a run that ends
begin
await_rows r.csv.partial 20
kill -TERM "$(pgrep -P $coordinator)"
wait $coordinator
is "an interrupted run writes its tables" "$? $(rows r.csv)" "1 40000"
no_file "and leaves nothing beside them" "${partials[@]}"
touch "${partials[@]}"
exit_is 0 "a run that ends" run --workload short.csv "${outs[@]}"
no_file "takes away what an older one has left" "${partials[@]}"
exit_is 0 "a table on stdout" run --workload short.csv --requests-out - --stages-out s.csv
no_file "has nothing beside it" -- ./-.partial

# ---- tables that cannot be written
full() { run --workload short.csv "${outs[@]}" > /dev/full; }
rm -f r.csv s.csv t.csv
exit_is 2 "a summary that cannot be written" full
no_file "no tables" r.csv s.csv t.csv
like "what is known stays, and is named" "$err" "what was known is in r.csv.partial.*what was known is in t.csv.partial"
is "all of it" "$(rows r.csv.partial)" 40
cp short.csv r.csv.partial
exit_is 2 "an input of that name" run --workload r.csv.partial "${outs[@]}"
like "is not replaced" "$err" "r.csv is read by this run: an output would replace it"
exit_is 2 "an output of that name" run --workload short.csv --requests-out r.csv --stages-out r.csv.partial
like "is refused" "$err" "r.csv.partial: two outputs of this name"
for name in ./r.csv.partial ".//r.csv.partial" link.csv "$PWD/r.csv.partial"; do
    rm -f r.csv r.csv.partial link.csv
    [ "$name" = link.csv ] && ln -s r.csv.partial link.csv
    exit_is 2 "an output of that name, as $name" run --workload short.csv --requests-out r.csv --stages-out "$name"
    like "as $name: is refused" "$err" "^orrery-run: $name: two outputs of this name"
    no_file "as $name: none is written" r.csv r.csv.partial
done
rm link.csv
exit_is 2 "one output by two names" run --workload short.csv --requests-out r.csv --stages-out ./r.csv
like "is refused before the run" "$err" "^orrery-run: r.csv: two outputs of this name"
mkdir r.csv.partial
exit_is 2 "a partial table that cannot be" run --workload short.csv "${outs[@]}"
like "is found before workers join" "$err" "^orrery-run: r.csv.partial: Is a directory"
rmdir r.csv.partial

# ---- a disk that is full
(
    trap '' XFSZ
    ulimit -f 64
    rm -f ./*.csv.partial r.csv s.csv t.csv
    exec timeout 60 orrery-run --local --models models.csv --placement two.csv --workload long.csv "${outs[@]}" > run.out 2> run.err
) &
coordinator=$!
for ((n = 0; n < 200; n++)); do
    grep -q "s.csv.partial: .*nothing is added" run.err && break
    sleep 0.1
done
like "a partial table that cannot grow is named" "$(cat run.err)" "orrery-run: s.csv.partial: File too large: nothing is added to it, the run goes on"
kill -9 "$(pgrep -P $coordinator)"
wait $coordinator 2> /dev/null
ok "what was in it stays" test "$(rows s.csv.partial)" -gt 100
orrery-run keys -o keys > keys.out
exit_is 2 "an output over the keys" run --workload short.csv --keys keys --requests-out keys/cluster.key --stages-out s.csv
like "is refused as well" "$err" "keys/cluster.key is read by this run: an output would replace it"

done_testing
