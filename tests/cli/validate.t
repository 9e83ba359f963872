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
is "a mean" "$(score predicted.csv measured.csv mean-latency)" "3.85 3.5 0.100000"
is "a median" "$(score predicted.csv measured.csv p50-latency)" "3.85 3.5 0.100000"
is "a quantile lies between its neighbours" "$(score predicted.csv measured.csv p90-latency)" "6.05 5.5 0.100000"
is "the mean of relative errors" "$(score predicted.csv measured.csv mare)" "3.85 3.5 0.100000"
is "time to the first token" "$(score predicted.csv measured.csv mean-ttft)" "3.85 3.5 0.100000"
is "the period is that of the middle" "$(score predicted.csv measured.csv period)" "1.1 1 0.100000"
sed 's/,1,,ok/,5,,ok/; s/^\([1-6],chat,0,0,0\),[0-9]*/\1,0.5/' measured.csv > decoded.csv
is "time for each token after the first" "$(score decoded.csv decoded.csv mean-tpot)" "0.75 0.75 0.000000"

# columns in another order, rows in another, one that has failed and one that is missing
awk -F, -v OFS=, '/^#/ { print; next } { print $11, $7, $4, $1, $6, $9 }' measured.csv | sed '3!b;s/^ok/failed/' > other.csv
exit_is 2 "four common rows and one more are too few" score predicted.csv <(head -n 5 other.csv) mean-latency
is "columns are found by name, failed requests left out" "$(score predicted.csv other.csv mean-latency)" "4.4 4 0.100000"
exit_is 2 "without tables" score
exit_is 2 "a case that is not there" env VALIDATE_OUT="$tmp/out" VALIDATE_TABLE="$tmp/table.csv" ORRERY_BIN=/nowhere "$root/tests/validate/validate" z
done_testing
