#!/bin/bash
# make install: the programs work from where they were put, and have their manual pages where help2man is.
. "$(dirname "$0")/lib.sh"
need orrery-sim
[ "$ORRERY_BIN" = "$root/bin" ] || skip_all "this build is not the one that make install installs"

ok "make install" make -C "$root" -s install DESTDIR="$tmp" PREFIX=/opt/orrery
installed=$tmp/opt/orrery
for program in "$ORRERY_BIN"/*; do
    case $program in *-static*) continue ;; esac # made by make static, copied by hand
    name=${program##*/}
    exit_is 0 "$name runs from there" "$installed/bin/$name" --version
    like "$name says its version" "$out" "^$name [0-9]+\.[0-9]+"
    if command -v help2man > /dev/null; then
        ok "$name has a manual page" grep -q "^.SH SYNOPSIS" "$installed/share/man/man1/$name.1"
    else
        skip "$name has a manual page" "help2man is not installed"
    fi
done
ok "the model catalogue is there to copy from" test -s "$installed/share/orrery/models.csv"
cd "$tmp" || exit 2
exit_is 0 "the installed simulator needs no file beside it" "$installed/bin/orrery-sim" run --placement \
    "$root/tests/golden/data/chat.csv" --workload "$root/tests/golden/data/chat-workload.csv" --costs "$root/tests/golden/data/costs" \
    --cluster "$root/tests/golden/data/cluster"
done_testing
