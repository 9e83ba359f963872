#!/bin/bash
# make static: one file that needs no library measures as the other does.
. "$(dirname "$0")/lib.sh"
need orrery-profile
[ "$ORRERY_BIN" = "$root/bin" ] || skip_all "this build is not the one that make static takes after"
"${CC:-gcc}" -static -x c -o "$tmp/probe" - -lopenblas -lcsv -lm -lpthread 2> /dev/null <<< 'int main(void) { return 0; }' ||
    skip_all "no libopenblas.a, libcsv.a or static C library here"

ok "make static" env INSTALL=no make -C "$root" -s static
program=$root/bin/orrery-profile-static
cd "$tmp" || exit 2
like "it has no dynamic section" "$(readelf -d "$program")" "There is no dynamic section"
exit_is 0 "facts" "$program" facts --json
blas=$(orrery-profile facts | sed -n 's/^blas_core *//p')
case $blas in
"(not known"*) skip "it has the same BLAS" "the BLAS here does not say its core" ;;
*) is "it has the same BLAS" "$("$program" facts | sed -n 's/^blas_core *//p')" "$blas" ;;
esac
exit_is 0 "a run with a tiny budget" "$program" run --model gpt2-4l --quick --budget 100ms --tokens 1:2 --kv 2:4 -o costs
like "leaves a cost table" "$(head -n 1 costs/kernels.csv)" "^# orrery: kernels 1"
exit_is 0 "its roofline" "$program" roofline --budget 1ms
exit_is 2 "link is not in it" "$program" link
like "and that is said" "$err" "link: not in this build: it has no ZeroMQ"
like "in the help too" "$("$program" --help)" "  link +\(not in this build"
if [ "$("$program" run --model ./none.json -o x 2>&1 | grep -c 'No such file')" = 1 ]; then
    echo '{"model_type": "gpt2"}' > config.json
    exit_is 2 "a config.json is read, or it is said that it cannot be" "$program" run --model ./config.json -o x
    like "with its path" "$err" "config.json"
else
    tap_result 1 "a missing config.json is named"
fi
done_testing
