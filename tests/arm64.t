#!/bin/bash
# The unit tests, the golden cases of orrery-sim and the corpus on 64-bit ARM, under qemu: run by `make test-arm64`,
# which has built them. The simulator must give the same bytes as the one built for this machine.
. "$(dirname "$0")/cli/lib.sh"
. "$(dirname "$0")/cli/modes.sh"

qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || skip_all "qemu-user-static is not installed"
[ -n "${ARM64_ROOT:-}" ] || skip_all "run make test-arm64: it builds the programs first"
run() {
    "$qemu" -L /usr/aarch64-linux-gnu \
        -E LD_LIBRARY_PATH="/usr/aarch64-linux-gnu/lib:$ARM64_ROOT/lib/aarch64-linux-gnu:$ARM64_ROOT/usr/lib/aarch64-linux-gnu" "$@"
}

export OPENBLAS_NUM_THREADS=1
for program in "$O"/tests/unit/*/test_*; do
    [ -x "$program" ] || continue
    case $program in
    *.[od]) ;;
    *) ok "unit ${program#"$O"/tests/unit/}" run "$program" ;;
    esac
done
for program in "$O"/tests/fuzz/replay_*; do
    [ -x "$program" ] || continue
    name=${program##*/replay_}
    # Whole seeds alone would need another mode: one seed, spoilt at every byte, is enough under qemu.
    seeds=("$root/tests/fuzz/corpus/$name"/*)
    ok "corpus $name" run "$program" "${seeds[0]}"
done

data=$root/tests/golden/data
simulate() { # FOLDER PROGRAM...
    local folder=$1
    shift
    mkdir -p "$folder"
    (cd "$folder" && "$@" generate --process pareto --cv 2 --rate 20/s --duration 20s --service chat --prompt lognormal:40:1 \
        --output exp:10 --seed 5 -o w.csv && "$@" run --placement "$data/chat.csv" --workload w.csv \
        --costs "$data/costs" --cluster "$data/cluster" --requests-out r.csv --stages-out s.csv --json) > "$folder/out.json"
}
ok "orrery-sim runs here" simulate "$tmp/here" "${HOST_BIN:-$root/bin}/orrery-sim"
ok "orrery-sim runs on ARM" simulate "$tmp/arm" run "$O/bin/orrery-sim"
for file in w.csv r.csv s.csv out.json; do
    same_file "with the same bytes in $file" "$tmp/arm/$file" "$tmp/here/$file"
done
# The program of a mode is one word: what runs it stands in a script.
{
    echo '#!/bin/bash'
    declare -p qemu ARM64_ROOT O
    declare -f run
    cat << 'END'
run "$O/bin/orrery-sim" "$@"
END
} > "$tmp/orrery-sim" && chmod +x "$tmp/orrery-sim"
ok "every mode runs here" modes "${HOST_BIN:-$root/bin}/orrery-sim" "$tmp/here/modes"
ok "and on ARM" modes "$tmp/orrery-sim" "$tmp/arm/modes"
ok "with the same bytes in all that it writes" diff -r "$tmp/here/modes" "$tmp/arm/modes"
# A table that was measured under an emulator must say so.
profile=(run "$O/bin/orrery-profile" run --model gpt2-4l --quick --budget 100ms --tokens 1:2 --kv 2:4 --counters off)
ok "orrery-profile measures on ARM" "${profile[@]}" -o "$tmp/emulated"
like "and its table is marked as emulated" "$(cat "$tmp/emulated/device.csv")" $'\n'"emulated,qemu-user,"
like "and says so" "$("${profile[@]}" -o "$tmp/again" 2>&1 | tr '\n' ' ')" "emulated +\(qemu-user\)"
ok "orrery-profile roofline on ARM" run "$O/bin/orrery-profile" roofline --budget 1ms

static=$root/bin/orrery-profile-static-aarch64-linux-gnu
if [ -x "$static" ]; then
    like "the static program has no dynamic section" "$(readelf -d "$static")" "There is no dynamic section"
    ok "its facts" "$qemu" "$static" facts
    ok "its run" "$qemu" "$static" run --model gpt2-4l --quick --budget 100ms --tokens 1:2 --kv 2:4 -o "$tmp/static"
    like "is marked as emulated" "$(cat "$tmp/static/device.csv")" $'\n'"emulated,qemu-user,"
else
    skip "the static program" "run make static CROSS_COMPILE=aarch64-linux-gnu-"
fi
done_testing
