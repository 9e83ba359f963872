#!/bin/bash
# Golden cases: tests/golden/<case>/cmd is run as bash in a folder that holds a copy of tests/golden/data,
# and what it prints, its exit status and the files it leaves must be what `expected` says.
#
# stderr lines begin with "! ". GOLDEN_UPDATE=1 (make golden-update) writes `expected` instead.
. "$(dirname "$0")/lib.sh"

run_case() { # FOLDER: the transcript on stdout
    local box=$tmp/box status
    rm -rf "$box" && cp -r "$root/tests/golden/data" "$box"
    (cd "$box" && find . -type f | sort) > "$tmp/before"
    (cd "$box" && timeout 60 bash "$1/cmd" > "$tmp/stdout" 2> "$tmp/stderr" < /dev/null)
    status=$?
    cat "$tmp/stdout"
    sed 's/^/! /' "$tmp/stderr"
    (cd "$box" && find . -type f | sort | comm -13 "$tmp/before" - | sed 's/^/file: /')
    echo "exit: $status"
}

for folder in "$root"/tests/golden/*/; do
    folder=${folder%/}
    name=${folder##*/}
    [ "$name" != data ] || continue
    program=$(grep -oE 'orrery-(sim|profile|run)' "$folder/cmd" | sort -u | while read -r program; do
        [ -x "$ORRERY_BIN/$program" ] || echo "$program"
    done | head -n 1)
    if [ -n "$program" ]; then
        skip "$name" "$program is not built here"
        continue
    fi
    run_case "$folder" > "$tmp/seen"
    if [ -n "${GOLDEN_UPDATE:-}" ]; then
        cp "$tmp/seen" "$folder/expected"
    fi
    same_file "$name" "$tmp/seen" "$folder/expected"
    case $name in
    help-*)
        too_wide=$(awk 'length($0) > 80' "$tmp/stdout")
        is "$name: no line is wider than 80 columns" "$too_wide" ""
        ;;
    esac
done

# Every sub-command that a program's --help lists has its help case.
for program in orrery-sim orrery-profile orrery-run; do
    [ -x "$ORRERY_BIN/$program" ] || continue
    for command in $("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p'); do
        ok "$program $command has a help case" test -f "$root/tests/golden/help-${program#orrery-}-$command/cmd"
    done
done
done_testing
