#!/bin/bash
# Planners side by side, capacity and boards, against what a run says of the same placements and rates.
. "$(dirname "$0")/lib.sh"
need orrery-sim

cp -r "$root/tests/golden/data/costs" "$tmp/costs" && cd "$tmp" || exit 2
mkdir cluster
cp "$root/tests/golden/data/cluster/links.csv" cluster
{
    echo device,type,memory_bytes,speed_ratio,idle_w,busy_w
    printf '%s,board,%s,%s,2,5\n' a 250000000 1 b 300000000 0.5 c 200000000 1 d 250000000 1
} > cluster/devices.csv
lengths=(--prompt constant:16 --output constant:8)
orrery-sim generate --process poisson --rate 12/s --requests 60 --service chat "${lengths[@]}" -o w.csv > /dev/null
problem=(--service chat=gpt2-4l --cluster cluster --costs costs/board)

field() { # FILE KEY: the first value of the key in a JSON file
    sed -n "s/^ *\"$2\": \(.*[^,]\),*$/\1/p" "$1" | head -n 1
}
good_of() { # KEY OPTION...: of a run, which may miss its objectives
    orrery-sim run --cluster cluster --costs costs/board --json "${@:2}" > run.json
    [ $? -le 1 ] && field run.json "$1"
}

# ---- every planner has its row, and a run of what it placed agrees
exit_is 0 "all planners side by side" orrery-sim compare "${problem[@]}" --workload w.csv --slo 400ms --memory refuse \
    --time-limit 5s --csv table.csv --placements-out found
list=$(orrery-sim place --list | awk '{ print $1 }')
is "a row for every planner" "$(awk -F, '!/^#/ && $1 != "planner" && !seen[$1]++ { print $1 }' table.csv)" "$list"
checked=0
while IFS=, read -r planner objectives feasible rest; do
    [ "$feasible" = yes ] || continue
    file=found/$planner.csv
    [ -f "$file" ] || file=found/$planner-${objectives%% *}.csv
    options=()
    switch=$(sed -n 's/.*\(--switch-cost [^ ,"]*\).*/\1/p' <<< "$rest")
    # shellcheck disable=SC2206  # words
    [ -z "$switch" ] || options=($switch)
    is "$planner by $objectives: a run finds the same goodput" \
        "$(good_of goodput_per_s --placement "$file" --workload w.csv --slo 400ms --memory refuse "${options[@]}")" \
        "$(awk -F, -v p="$planner" -v o="$objectives" '$1 == p && $2 == o { print $9 }' <(sed 's/"[^"]*"//' table.csv))"
    checked=$((checked + 1))
done < <(grep -v '^#\|^planner,' table.csv | sed 's/"\([^"]*\)"/\1/')
ok "and there are some" test "$checked" -ge 10

# ---- the period is what no rate can beat, where replicas take turns
limits=$(for file in found/*.csv; do
    orrery-sim run --placement "$file" --cluster cluster --costs costs/board --process constant --rate 1e6 --requests 300 \
        --service chat "${lengths[@]}" --memory warn --idle-resume off --dispatch round-robin --json > run.json || echo "$file cannot run"
    name=${file##*/}
    awk -F, -v served="$(field run.json throughput_per_s)" -v file="${name%.csv}" '
        !/^#/ && $3 == "yes" && ($1 == file || index(file, $1 "-") == 1) {
            if (served * $7 > 1.000001 && (file == $1 || file == $1 "-" substr($2, 1, index($2 " ", " ") - 1)))
                print file ": " served "/s with a period of " $7 " s"
        }' <(sed 's/"[^"]*"//' table.csv)
done)
is "nobody serves more than one request a period" "$limits" ""

# ---- capacity: a run at the rate meets it, one a step higher does not
orrery-sim place "${problem[@]}" --prompt 16 --output 8 --objective period -o p.csv > /dev/null
capacity=(orrery-sim capacity -p p.csv --cluster cluster --costs costs/board)
exit_is 0 "the highest rate" "${capacity[@]}" "${lengths[@]}" --slo 300ms --requests 400 --memory refuse --json
printf '%s\n' "$out" > capacity.json
for which in rate next; do
    good_of goodput_ratio --placement p.csv --process poisson --rate "$(field capacity.json ${which}_per_s)" --requests 400 \
        --service chat "${lengths[@]}" --slo 300ms --memory refuse > $which
done
meets() { # FILE: the share in it is what was asked for
    awk '{ exit !($1 >= 0.99) }' "$1"
}
ok "a run at that rate meets it" meets rate
exit_is 1 "and at the next it does not" meets next
again=$("${capacity[@]}" "${lengths[@]}" --slo 300ms --requests 400 --memory refuse --json)
is "twice the same" "$again" "$(cat capacity.json)"

# A pipeline of constant costs waits as its slowest stage alone does, and M/D/1 is known: of w = mean wait and
# S = cost, the rate is 2w / (S^2 + 2wS).
mkdir box && printf 'device,type\nx,box\ny,box\n' > box/devices.csv
orrery-sim place --cluster box --costs costs/box --objective period -o box.csv > /dev/null
for wait_ms in 5 20 80; do
    orrery-sim capacity -p box.csv --cluster box --costs costs/box --quantile mean=$((50 + wait_ms))ms --requests 100000 \
        --resolution 0.2% --json > capacity.json
    ok "M/D/1 with a mean wait of $wait_ms ms" awk -v seen="$(field capacity.json rate_per_s)" -v w="0.0$(printf %02d $wait_ms)" '
        BEGIN { s = 0.03; rate = 2 * w / (s * s + 2 * w * s); print seen, rate; exit !(seen > 0.98 * rate && seen < 1.02 * rate) }'
done

# ---- the fewest boards: against every subset of the cluster
subset() { # FOLDER NAME...: that part of the cluster
    mkdir -p "$1" && cp cluster/links.csv "$1"
    { head -n 1 cluster/devices.csv && grep -E "^($(IFS='|' && echo "${*:2}"))," cluster/devices.csv; } > "$1/devices.csv"
}
load=(--process poisson --requests 200 --service chat "${lengths[@]}")
all=(a b c d)
for rate in 8 14 18 30; do
    orrery-sim generate "${load[@]}" --rate $rate -o load.csv > /dev/null
    fewest=none
    for ((set = 1; set < 16; set++)); do
        names=()
        for ((i = 0; i < 4; i++)); do
            ((set >> i & 1)) && names+=("${all[i]}")
        done
        subset "part-$set" "${names[@]}"
        orrery-sim place --service chat=gpt2-4l --cluster "part-$set" --costs costs/board --workload load.csv --memory refuse \
            --objective period -o part.csv > /dev/null || continue
        good_of goodput_ratio --placement part.csv --workload load.csv --slo 300ms --memory refuse > ratio
        used=$(grep -v '^#\|^service' part.csv | cut -d, -f4 | sort -u | wc -l)
        if meets ratio && { [ "$fewest" = none ] || [ "$used" -lt "$fewest" ]; }; then
            fewest=$used
        fi
    done
    orrery-sim capacity --boards kinds "${load[@]/#chat/chat=gpt2-4l}" --rate $rate --cluster cluster --costs costs/board \
        --slo 300ms --memory refuse --json > boards.json
    is "the fewest boards for $rate/s" "$(field boards.json boards | sed 's/null/none/')" "$fewest"
done
done_testing
