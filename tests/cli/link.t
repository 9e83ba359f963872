#!/bin/bash
# orrery-profile link: on loopback and between two ends, its file, its errors.
. "$(dirname "$0")/lib.sh"
need orrery-profile
orrery-profile --help | grep -q '^  link  *measure' || skip_all "built without ZeroMQ"
cd "$tmp" || exit 2

link() { timeout 60 orrery-profile link "$@"; }

exit_is 0 "on loopback" link -o links.csv
like "every size and the error of the fit are printed" "$out" "4194304 .*loopback: [0-9.]+ [MGT]bit/s, latency [0-9.]+ [a-z]+, [0-9.]+ [a-z]+ a message.*error of the fit: median "
is "no line is longer than 80 columns" "$(grep -cE '^.{81,}' <<< "$out")" 0
like "the file is a links table" "$(head -n 1 links.csv)" "^# orrery: links 1$"
like "of one switch for every node" "$(tail -n 1 links.csv)" "^loopback,switch,\*,[0-9]+,0\.0[0-9]*,"
like "and how long both ends slept between messages" "$(cat links.csv)" "# pause_s: 0.010000"
like "its head states the error" "$(cat links.csv)" "# fit_max_error_ratio: [0-9]"
is "one row" "$(grep -vc '^#' links.csv)" 2

exit_is 0 "as JSON, with a name" link --json --medium eth0 --pause 100us
like "JSON says the pause" "$(tr -d ' \n' <<< "$out")" '"pause_s":0.0001'
like "JSON has the three numbers" "$(tr -d ' \n' <<< "$out")" '^\{"schema":1,"medium":"eth0","bits_per_s":[0-9]+,"latency_s":0\..*,"per_message_s":.*"points":\[\{"bytes":64,'

if command -v orrery-run > /dev/null; then
    ok "keys" orrery-run keys -o keys
    exit_is 0 "with keys, encrypted" link --keys keys
    like "every size here too" "$out" "4194304 "
    exit_is 2 "with keys that are not there" link --keys nowhere
fi

port=$((20000 + $$ % 20000))
link --listen "127.0.0.1:$port" 2> listen.err &
far=$!
# strangers: random bytes, and a message of ZeroMQ's oldest protocol that is no frame
for ((i = 0; i < 100; i++)); do
    grep -q listening listen.err && break
    sleep 0.05
done
ok "random bytes are sent to it" bash -c "head -c 300 /dev/urandom > /dev/tcp/127.0.0.1/$port"
ok "and a message that is no frame" bash -c "printf '\\1\\0\\6\\0hello' > /dev/tcp/127.0.0.1/$port"
sleep 0.2
exit_is 0 "between two ends" link --connect "127.0.0.1:$port" -o -
like "the file on stdout" "$out" "lan,switch,\*,"
wait $far
is "the far end is done too" "$?" 0
like "it said what to do on the other board" "$(cat listen.err)" "listening on 127.0.0.1:$port; on the other board:.*  orrery-profile link --connect HOST:$port"

exit_is 2 "to nobody" link --connect "127.0.0.1:$port"
like "says where and what to do" "$err" "127.0.0.1:$port does not answer: start .orrery-profile link --listen 0.0.0.0:$port. there first"

rm -f links.csv
full() { link -o links.csv > /dev/full; }
exit_is 2 "a full stdout" full
no_file "leaves no file" links.csv
exit_is 2 "a folder that is not there" link -o nowhere/links.csv
like "it is named" "$err" "nowhere/links.csv: No such file"
exit_is 2 "both ends at once" link --listen 127.0.0.1:0 --connect 127.0.0.1:1
exit_is 2 "a pause that is none" link --pause soon
like "is explained" "$err" "--pause: 'soon': expected a time of at most 1s"
exit_is 2 "a bad address" link --connect nowhere
like "what was expected" "$err" "expected HOST:PORT"
exit_is 2 "an address that is not ours" link --listen 192.0.2.1:5555
like "is named" "$err" "cannot listen on 192.0.2.1:5555"

done_testing
