#!/bin/bash
# The scores of make validate, on tables that a person can work out. The series itself needs minutes on a
# quiet machine.
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 2
score() { "$root/tests/validate/score" "$@"; }

# latencies 1 to 6 s, one result a second; predicted 10 % longer, and a second later each
{
    echo "# orrery: requests 1"
    echo "request_id,service,replica,arrival_s,start_s,first_token_s,finish_s,prompt_tokens,output_tokens,client,status"
    for ((i = 1; i <= 6; i++)); do echo "$i,chat,0,0,0,$i,$i,4,1,,ok"; done
} > measured.csv
awk -F, -v OFS=, '/^[1-6],/ { $6 *= 1.1; $7 *= 1.1 } { print }' measured.csv > predicted.csv
is "a mean" "$(score mean-latency predicted.csv measured.csv)" "3.85 3.5 0.100000 -"
is "a median" "$(score p50-latency predicted.csv measured.csv)" "3.85 3.5 0.100000 -"
is "a quantile lies between its neighbours" "$(score p90-latency predicted.csv measured.csv)" "6.05 5.5 0.100000 -"
is "the mean of relative errors" "$(score mare predicted.csv measured.csv)" "3.85 3.5 0.100000 -"
is "time to the first token" "$(score mean-ttft predicted.csv measured.csv)" "3.85 3.5 0.100000 -"
is "the period is that of the middle" "$(score period predicted.csv measured.csv)" "1.1 1 0.100000 -"
sed 's/,1,,ok/,5,,ok/; s/^\([1-6],chat,0,0,0\),[0-9]*/\1,0.5/' measured.csv > decoded.csv
is "time for each token after the first" "$(score mean-tpot decoded.csv decoded.csv)" "0.75 0.75 0.000000 -"

# columns in another order, rows in another, one that has failed and one that is missing
awk -F, -v OFS=, '/^#/ { print; next } { print $11, $7, $4, $1, $6, $9 }' measured.csv | sed '3!b;s/^ok/failed/' > other.csv
exit_is 2 "four common rows and one more are too few" score mean-latency predicted.csv <(head -n 5 other.csv)
is "columns are found by name, failed requests left out" "$(score mean-latency predicted.csv other.csv)" "4.4 4 0.100000 -"
# three measurements: the median of each request; how far each pair is apart, on average
for times in 1.1 1.32; do
    awk -F, -v OFS=, -v t=$times '/^[1-6],/ { $6 *= t; $7 *= t } { print }' measured.csv > "times-$times.csv"
done
is "the median of measurements, and how far they are apart" \
    "$(score mare predicted.csv measured.csv times-1.1.csv times-1.32.csv)" "3.85 3.85 0.000000 $(awk 'BEGIN { printf "%.6f", (1 - 1 / 1.1 + 1 - 1 / 1.32 + 1 - 1.1 / 1.32) / 3 }')"
is "of two measurements it lies between them" "$(score mean-latency predicted.csv measured.csv times-1.1.csv | cut -d ' ' -f 1-2)" "3.85 3.675"
exit_is 2 "without tables" score
exit_is 2 "a case that is not there" env VALIDATE_OUT="$tmp/out" VALIDATE_TABLE="$tmp/table.csv" "$root/tests/validate/validate" b z
like "is named before anything is measured" "$err" "^validate: 'z' is not a case: expected a to g$"
exit_is 2 "half a second" env VALIDATE_OUT="$tmp/out" VALIDATE_SECONDS=0.5 "$root/tests/validate/validate" b
like "is explained" "$err" "^validate: VALIDATE_SECONDS 0.5: expected a whole number from 1 on$"
done_testing
