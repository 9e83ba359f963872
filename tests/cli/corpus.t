#!/bin/bash
# Replays the fuzzing corpus without a fuzzer: every seed whole, cut off after each byte, and with each
# byte spoilt. Nothing may crash, hang or reach a sanitizer.
. "$(dirname "$0")/lib.sh"

for source in "$root"/tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    name=${name#fuzz_}
    program=$O/tests/fuzz/replay_$name
    if [ ! -x "$program" ]; then
        skip "$name" "$program is not built: run make replay"
        continue
    fi
    seeds=("$root/tests/fuzz/corpus/$name"/*)
    ok "$name: ${#seeds[@]} seeds and their spoilt copies" timeout 120 "$program" "${seeds[@]}"
done
done_testing
