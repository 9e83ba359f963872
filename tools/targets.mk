# targets.mk - what make does beyond building the programs: test, lint, fuzz, install.
#
# Included at the end of the Makefile. Scripts that need more than a few lines live in tools/ and tests/.

PREFIX  ?= /usr/local
DESTDIR ?=
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
# In parallel unless the caller has said how.
SUBMAKE = $(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(JOBS))

.PHONY: all-code units validate test test-run check-quick lint format bench fuzz fuzz-programs replay arm64 \
        bench-programs test-arm64 static static-program demo install clean golden-update coverage compile_commands.json

# ---- tests -----------------------------------------------------------------------------------
# make has looked for libraries before they were installed: a second make looks again.
test:
	@tools/install-packages build test
	@$(SUBMAKE) programs units replay bench-programs $(HOG)
	@$(MAKE) --no-print-directory test-run

TEST_ENV = BUILD='$(BUILD)' CC='$(CC)' O='$(abspath $(O))' ORRERY_BIN='$(abspath $(BIN))'
test-run:
	@$(TEST_ENV) tests/run $(UNIT) $(wildcard tests/cli/*.t tests/oracle/*.t tests/net/*.t)

# For the moment between two edits, and for the sanitizers: no packages, no README, no second build.
check-quick: programs units replay $(HOG)
	@$(TEST_ENV) tests/run $(UNIT) tests/cli/golden.t tests/cli/corpus.t

units: $(UNIT)
all-code: programs units replay bench-programs $(HOG)

# Rewrites tests/golden/*/expected from what the programs print now; review the difference.
golden-update: programs
	@GOLDEN_UPDATE=1 $(TEST_ENV) tests/cli/golden.t

# Predicted, measured, error of a series of runs on this machine, which should have nothing else to do.
# Takes about twelve minutes; writes traces/validation/<processor>.csv.
validate:
	@tools/install-packages build
	@$(SUBMAKE) programs
	@ORRERY_BIN='$(abspath $(BIN))' tests/validate/validate $(CASES)

coverage:
	@tools/install-packages build test coverage
	@$(SUBMAKE) BUILD=cover programs units replay build/cover/hog
	@find build/cover -name '*.gcda' -delete
	@$(MAKE) --no-print-directory BUILD=cover test-run
	@gcovr --root . --object-directory build/cover --filter lib/ --filter sim/ --print-summary \
	    --fail-under-line 90 --txt build/cover/coverage.txt

# ---- fuzzing: tests/fuzz/fuzz_*.c, each one entry point that libFuzzer or replay.c calls --------
FUZZ_SECONDS ?= 60
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(call sources,tests/fuzz/fuzz_*.c))
FUZZ_NAMES := $(if $(HAVE_ZMQ),$(FUZZ_NAMES),$(filter-out frame,$(FUZZ_NAMES)))
REPLAY := $(if $(HAVE_DATA),$(FUZZ_NAMES:%=$(O)/tests/fuzz/replay_%))
FUZZ   := $(FUZZ_NAMES:%=$(O)/tests/fuzz/libfuzzer_%)
fuzz_link = $(filter %.o,$^) $(filter %libwire.a,$^) $(filter-out %libwire.a,$(filter %.a,$^)) \
    $(if $(filter %libwire.a,$^),$(ZMQ_LIBS)) $(SIM_LIBS)
FUZZ_A := $(POLICY_A) $(FORMAT_A) $(BASE_A)
replay: $(REPLAY)
.SECONDARY: $(FUZZ_NAMES:%=$(O)/tests/fuzz/fuzz_%.o) $(O)/tests/fuzz/files.o $(O)/tests/fuzz/replay.o
fuzz-programs: $(FUZZ)
$(O)/tests/fuzz/replay_frame $(O)/tests/fuzz/libfuzzer_frame: $(call objects,$(call sources,runner/setup/*.c)) $(WIRE_A)
$(filter $(O)/tests/fuzz/replay_import_% $(O)/tests/fuzz/libfuzzer_import_%,$(REPLAY) $(FUZZ)): \
    $(call objects,$(call sources,sim/import/*.c sim/generate/*.c))
$(O)/tests/fuzz/replay_network $(O)/tests/fuzz/libfuzzer_network: $(call objects,$(call sources,sim/network/*.c sim/engine/*.c))
$(O)/tests/fuzz/replay_ops $(O)/tests/fuzz/libfuzzer_ops: $(call objects,$(call sources,sim/ops/*.c))
$(O)/tests/fuzz/replay_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/files.o $(O)/tests/fuzz/replay.o $(FUZZ_A)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $(fuzz_link)
$(O)/tests/fuzz/libfuzzer_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/files.o $(FUZZ_A)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $(fuzz_link)

# New inputs are kept in build/fuzz/corpus; one that breaks something is kept as build/fuzz/crash-*.
fuzz:
	@tools/install-packages build test fuzz
	@$(SUBMAKE) O=build/fuzz CC=clang CFLAGS='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all' \
	    fuzz-programs
	@for name in $(FUZZ_NAMES); do \
	    mkdir -p build/fuzz/corpus/$$name && echo "fuzzing $$name for $(FUZZ_SECONDS) s" && \
	    ASAN_OPTIONS=detect_leaks=0 build/fuzz/tests/fuzz/libfuzzer_$$name -max_total_time=$(FUZZ_SECONDS) \
	        -max_len=4096 -timeout=10 -print_final_stats=0 -verbosity=0 -print_funcs=0 -artifact_prefix=build/fuzz/crash-$$name- \
	        build/fuzz/corpus/$$name tests/fuzz/corpus/$$name || exit 1; \
	done

# ---- lint ------------------------------------------------------------------------------------
LINTED_DIRS := lib profiler sim runner tests
lint:
	@tools/install-packages build test lint
	@$(MAKE) --no-print-directory compile_commands.json
	@MAKE='$(MAKE)' JOBS=$(JOBS) tools/lint

format:
	@find $(LINTED_DIRS) -name '*.[ch]' | xargs clang-format -i

# What make itself would run, so that editors and clang tools see the same flags.
compile_commands.json:
	@mkdir -p $(O)/generated
	@$(MAKE) --no-print-directory -nB V=1 all-code | tools/compile-commands > $@.tmp && mv $@.tmp $@

# ---- 64-bit boards -----------------------------------------------------------------------------
ARM64 := build/arm64
ARM64_ROOT := $(abspath build/arm64-libraries)
ARM64_LIB = $(ARM64_ROOT)/usr/lib/aarch64-linux-gnu
ARM64_MAKE = $(SUBMAKE) O=$(ARM64) CROSS_COMPILE=aarch64-linux-gnu- \
    CFLAGS='-isystem $(ARM64_ROOT)/usr/include -isystem $(ARM64_ROOT)/usr/include/aarch64-linux-gnu' \
    LDFLAGS='-L$(ARM64_LIB) -Wl,-rpath-link,$(ARM64_LIB):$(ARM64_ROOT)/lib/aarch64-linux-gnu'
arm64:
	@tools/install-packages build arm64
	@tools/arm64-libraries $(ARM64_ROOT)
	@$(ARM64_MAKE) programs
	@echo "programs for 64-bit ARM are in $(ARM64)/bin"

test-arm64: arm64 programs
	@$(ARM64_MAKE) units replay
	@$(MAKE) --no-print-directory static CROSS_COMPILE=aarch64-linux-gnu-
	@ARM64_ROOT='$(ARM64_ROOT)' O='$(abspath $(ARM64))' HOST_BIN='$(abspath $(BIN))' tests/run tests/arm64.t

# ---- one file for a board -----------------------------------------------------------------------
STATIC_FOR := $(patsubst %-,-%,$(CROSS_COMPILE))
STATIC_O = build/static$(STATIC_FOR)
STATIC_PROGRAM = bin/orrery-profile-static$(STATIC_FOR)
STATIC_IS_ARM64 := $(filter aarch64-linux-gnu-,$(CROSS_COMPILE))
static:
	@tools/install-packages build static $(if $(STATIC_IS_ARM64),arm64)
	@$(if $(STATIC_IS_ARM64),tools/arm64-libraries $(ARM64_ROOT))
	@$(if $(STATIC_IS_ARM64),$(ARM64_MAKE) LDFLAGS='-L$(ARM64_LIB)',$(SUBMAKE)) O=$(STATIC_O) STATIC=1 static-program
	@mkdir -p bin && cp $(STATIC_O)/bin/orrery-profile $(STATIC_PROGRAM)
	@echo "$(STATIC_PROGRAM) needs no library and no other file"

static-program: $(if $(and $(HAVE_DATA),$(HAVE_BLAS)),$(BIN)/orrery-profile)
	@$(if $(HAVE_DATA),,echo "not built: no libcsv.a: install libcsv-dev"; exit 1)
	@$(if $(HAVE_BLAS),,echo "not built: no libopenblas.a: install libopenblas-dev"; exit 1)
	@$(if $(HAVE_PAPI),,echo "built without PAPI, counters stay empty: install libpapi-dev and libpfm4-dev")
	@$(if $(HAVE_CJSON),,echo "built without cJSON (no libcjson.a): models of the catalogue, or as CSV, alone")

# ---- demo, bench, install ----------------------------------------------------------------------
demo:
	@tools/install-packages build demo
	@$(SUBMAKE) programs
	@ORRERY_BIN='$(BIN)' tools/demo

bench: programs bench-programs $(HOG)
	@ORRERY_BIN='$(abspath $(BIN))' O='$(abspath $(O))' BENCH='$(BENCH)' BENCH_RUNS='$(BENCH_RUNS)' \
	    BENCH_BUDGET='$(BENCH_BUDGET)' BENCH_FULL='$(BENCH_FULL)' BENCH_QUICK='$(BENCH_QUICK)' tools/bench

# tests/bench/bench_*.c: each a program that times one thing and prints rows of figures. What they share
# stands beside them.
BENCH_SRC := $(call sources,tests/bench/*.c)
BENCH_MAIN := $(filter tests/bench/bench_%,$(BENCH_SRC))
BENCH_PROGRAMS := $(if $(HAVE_DATA),$(patsubst %.c,$(O)/%,$(BENCH_MAIN)))
$(O)/tests/bench/%.o: ALL_CPPFLAGS += -DBUILD_FLAGS='"$(strip -ffp-contract=off $(flags_$(BUILD)) $(CFLAGS))"'
bench-programs: $(BENCH_PROGRAMS)
$(BENCH_PROGRAMS): %: %.o $(call objects,$(filter-out $(BENCH_MAIN),$(BENCH_SRC))) $(call not_main,$(SIM_SRC)) $(POLICY_A) $(FORMAT_A) $(BASE_A)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(SIM_LIBS)

install: programs
	@mkdir -p '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/orrery'
	install -m 755 $(PROGRAMS) '$(DESTDIR)$(PREFIX)/bin'
	install -m 644 workloads/models.csv '$(DESTDIR)$(PREFIX)/share/orrery'
	@if command -v help2man > /dev/null; then \
	    mkdir -p '$(DESTDIR)$(PREFIX)/share/man/man1' && \
	    for program in $(PROGRAMS); do \
	        echo "man page of $$program" && \
	        help2man --no-info --output='$(DESTDIR)$(PREFIX)/share/man/man1/'"$${program##*/}.1" $$program || exit 1; \
	    done; \
	else echo "no man pages: install help2man"; fi

clean:
	rm -rf build bin demo-out compile_commands.json
