# Orrery: one non-recursive build. `make help` lists the targets.
#
#   make            programs into bin/          make test    install, build, run every test
#   make demo       the whole loop, here        make lint    format, tidy, cppcheck, layers, banned calls
#   make bench      speed, errors of profiles   make fuzz    every reader under libFuzzer, 60 s each
#   make validate   predicted against measured, 15 min
#   make arm64      cross build for boards      make coverage, check-quick, golden-update, format, clean
#   make static     one file for a board, bin/orrery-profile-static; also with CROSS_COMPILE=aarch64-linux-gnu-
#   make install PREFIX=/usr/local DESTDIR=
#
# BUILD=release|debug|asan|cover   CC= CFLAGS= LDFLAGS= CROSS_COMPILE= honoured   V=1 shows commands

BUILD ?= release
ifeq ($(origin CC),default)
CC := $(CROSS_COMPILE)gcc
endif
AR_ := $(CROSS_COMPILE)ar
O   ?= build/$(BUILD)
BIN := $(if $(filter build/release,$(O)),bin,$(O)/bin)

flags_release := -O2 -g
flags_debug   := -O0 -g3
flags_asan    := -O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all
flags_cover   := -O0 -g --coverage -fprofile-update=atomic
ifeq ($(flags_$(BUILD)),)
$(error BUILD is '$(BUILD)': expected release, debug, asan or cover)
endif
WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes \
            -Wmissing-prototypes -Wvla -Wformat=2 -Wundef -Wwrite-strings -Wcast-qual
WERROR ?=
ALL_CPPFLAGS = -D_GNU_SOURCE -I. -I$(O)/generated -MMD -MP $(CPPFLAGS)
ALL_CFLAGS   = -std=c11 -ffp-contract=off $(WARNINGS) $(WERROR) $(flags_$(BUILD)) $(CFLAGS)
ALL_LDFLAGS  = $(flags_$(BUILD)) $(CFLAGS) $(LDFLAGS) $(STATIC_LDFLAGS)
# The kernels alone may trade the last bit for speed; their tests compare to a tolerance.
KERNEL_CFLAGS = $(if $(filter release,$(BUILD)),-O3) -ffast-math -fno-finite-math-only

say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2);)

# ---- what this machine has -------------------------------------------------------------------
# Each probe links one call, so that a header without its library (or the other way round) counts as
# missing. The answers are kept in $(O)/have.mk until the compiler, its flags or the Makefile change;
# what was missing is looked for again by the next make.
BLAS_LIBS ?= -lopenblas
PAPI_LIBS ?= -lpapi$(if $(STATIC), -lpfm)
ZMQ_LIBS  ?= -lzmq
CSV_LIBS  := -lcsv
CJSON_LIBS := -lcjson
CMOCKA_LIBS := -lcmocka
YAML_LIBS := -lyaml

comma := ,
HAVE_KEY := \# $(CC) $(CFLAGS) $(LDFLAGS)
ifneq ($(strip $(shell head -n 1 $(O)/have.mk 2>/dev/null)),$(strip $(HAVE_KEY)))
$(shell rm -f $(O)/have.mk)
endif
-include $(O)/have.mk
$(O)/have.mk: Makefile tools/probe-libraries
	@mkdir -p $(@D)
	@echo '$(HAVE_KEY)' > $@.tmp
	@CC='$(CC)' CFLAGS='$(CFLAGS)' LDFLAGS='$(LDFLAGS)$(if $(STATIC), -static)' BLAS_LIBS='$(BLAS_LIBS)' PAPI_LIBS='$(PAPI_LIBS)' \
	  ZMQ_LIBS='$(ZMQ_LIBS)' tools/probe-libraries >> $@.tmp && mv $@.tmp $@

# STATIC=1: one file for a board, which may lack every library. Debian has no archive of cJSON, and
# ZeroMQ's would need a resolver at run time: a static build does without. OpenBLAS's own calls are
# weak references, for which the linker takes nothing out of an archive unless told so.
ifdef STATIC
HAVE_ZMQ :=
CJSON_LIBS := $(if $(HAVE_CJSON),$(CJSON_LIBS))
ALL_CPPFLAGS += $(if $(HAVE_CJSON),,-DWITHOUT_CJSON)
HAVE_DATA := $(HAVE_CSV)
STATIC_LDFLAGS := -static $(addprefix -Wl$(comma)-u$(comma)openblas_,get_config get_corename get_num_threads set_num_threads)
else
HAVE_DATA := $(and $(HAVE_CSV),$(HAVE_CJSON))
endif

# ---- sources ---------------------------------------------------------------------------------
sources = $(sort $(wildcard $(1)))
objects = $(patsubst %.c,$(O)/%.o,$(1))
BASE_SRC     := $(call sources,lib/base/*.c)
FORMAT_SRC   := $(call sources,lib/format/*.c)
POLICY_SRC   := $(call sources,lib/policy/*.c)
KERNELS_SRC  := $(call sources,lib/kernels/*.c)
WIRE_SRC     := $(call sources,lib/wire/*.c)
PROFILER_SRC := $(call sources,profiler/*.c profiler/*/*.c)
SIM_SRC      := $(call sources,sim/*.c sim/*/*.c)
RUNNER_SRC   := $(call sources,runner/*.c runner/*/*.c)
LIB_A   := $(foreach l,base format policy kernels wire,$(O)/lib/lib$(l).a)
BASE_A    := $(O)/lib/libbase.a
FORMAT_A  := $(O)/lib/libformat.a
POLICY_A  := $(O)/lib/libpolicy.a
KERNELS_A := $(O)/lib/libkernels.a
WIRE_A    := $(O)/lib/libwire.a
DATA_LIBS := $(CSV_LIBS) $(CJSON_LIBS) -lm -pthread
SIM_LIBS := $(if $(HAVE_YAML),$(YAML_LIBS)) $(DATA_LIBS)

PROGRAMS := $(if $(HAVE_DATA),$(BIN)/orrery-sim)
PROGRAMS += $(if $(and $(HAVE_DATA),$(HAVE_BLAS)),$(BIN)/orrery-profile)
PROGRAMS += $(if $(and $(HAVE_DATA),$(HAVE_BLAS),$(HAVE_ZMQ)),$(BIN)/orrery-run)

.PHONY: all programs help
.DEFAULT_GOAL := all
all: programs
	@$(if $(HAVE_DATA),,echo "nothing built: libcsv or cJSON is missing: install libcsv-dev and libcjson-dev";) \
	 $(if $(HAVE_BLAS),,echo "not built: orrery-profile and orrery-run need CBLAS: install libopenblas-dev";) \
	 $(if $(HAVE_ZMQ),,echo "not built: orrery-run needs ZeroMQ: install libzmq3-dev; orrery-profile lacks 'link'";) \
	 $(if $(HAVE_PAPI),,echo "built without PAPI, counters stay empty: install libpapi-dev";) \
	 $(if $(HAVE_YAML),,echo "built without libyaml, 'orrery-sim import' reads no YAML: install libyaml-dev";) \
	 $(if $(and $(HAVE_DATA),$(HAVE_BLAS),$(HAVE_ZMQ),$(HAVE_PAPI),$(HAVE_YAML)),,rm -f $(O)/have.mk;) true
programs: $(PROGRAMS)

help:
	@sed -n '1,12p' Makefile | sed 's/^# \{0,1\}//'

# ---- rules -----------------------------------------------------------------------------------
$(O)/lib/libbase.a:    $(call objects,$(BASE_SRC))
$(O)/lib/libformat.a:  $(call objects,$(FORMAT_SRC)) $(O)/generated/catalogue.o
$(O)/lib/libpolicy.a:  $(call objects,$(POLICY_SRC))
$(O)/lib/libkernels.a: $(call objects,$(KERNELS_SRC))
$(O)/lib/libwire.a:    $(call objects,$(WIRE_SRC))
$(LIB_A):
	$(call say,AR,$@)mkdir -p $(@D) && rm -f $@ && $(AR_) rcs $@ $^

$(O)/lib/kernels/%.o: ALL_CFLAGS += $(KERNEL_CFLAGS)
# What is coded on one board is restored on another: to the bit.
$(O)/lib/kernels/codec.o: KERNEL_CFLAGS = $(if $(filter release,$(BUILD)),-O3)
$(O)/profiler/counters/counters_papi.o: ALL_CPPFLAGS += $(if $(HAVE_PAPI),-DHAVE_PAPI)
$(O)/sim/import/yaml_tree.o: ALL_CPPFLAGS += $(if $(HAVE_YAML),-DHAVE_YAML)
$(O)/profiler/%.o: ALL_CPPFLAGS += $(if $(HAVE_ZMQ),-DHAVE_ZMQ) \
    -DBUILD_FLAGS='"$(strip $(flags_$(BUILD)) $(CFLAGS) kernels: $(KERNEL_CFLAGS))"'
$(O)/%.o: %.c Makefile $(O)/have.mk
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

# workloads/models.csv travels inside the programs: a binary copied to a board needs no file.
$(O)/generated/catalogue.c: workloads/models.csv tools/embed-text
	$(call say,GEN,$@)mkdir -p $(@D) && tools/embed-text model_catalogue_text $< > $@.tmp && mv $@.tmp $@
$(O)/generated/catalogue.o: $(O)/generated/catalogue.c
	$(call say,CC,$<)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(BIN)/orrery-sim: $(call objects,$(SIM_SRC)) $(POLICY_A) $(FORMAT_A) $(BASE_A)
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $^ $(SIM_LIBS)
PROFILER_LIBS = $(BLAS_LIBS) $(if $(HAVE_PAPI),$(PAPI_LIBS)) $(if $(HAVE_ZMQ),$(ZMQ_LIBS))
$(BIN)/orrery-profile: $(call objects,$(PROFILER_SRC)) $(POLICY_A) $(KERNELS_A) $(if $(HAVE_ZMQ),$(WIRE_A)) $(FORMAT_A) $(BASE_A)
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $^ $(PROFILER_LIBS) $(DATA_LIBS)
$(BIN)/orrery-run: $(call objects,$(RUNNER_SRC)) $(POLICY_A) $(KERNELS_A) $(WIRE_A) $(FORMAT_A) $(BASE_A)
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $^ $(BLAS_LIBS) $(ZMQ_LIBS) $(DATA_LIBS)

# ---- unit tests: tests/unit/<area>/test_*.c, each a program that links its area and below ----
unit = $(patsubst %.c,$(O)/%,$(call sources,tests/unit/$(1)/test_*.c))
not_main = $(filter-out %/main.o,$(call objects,$(1)))
UNIT_DATA  := $(call unit,base) $(call unit,format) $(call unit,policy) $(call unit,sim)
UNIT_BLAS  := $(call unit,kernels) $(call unit,profiler)
UNIT_ZMQ   := $(call unit,wire) $(call unit,runner)
UNIT = $(UNIT_DATA) $(if $(HAVE_BLAS),$(UNIT_BLAS)) $(if $(and $(HAVE_BLAS),$(HAVE_ZMQ)),$(UNIT_ZMQ))
unit_link = $(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(1) $(DATA_LIBS) $(CMOCKA_LIBS)
$(call unit,base): %: %.o $(BASE_A)
	$(call unit_link)
$(call unit,format): %: %.o $(FORMAT_A) $(BASE_A)
	$(call unit_link)
$(call unit,policy): %: %.o $(POLICY_A) $(FORMAT_A) $(BASE_A)
	$(call unit_link)
$(call unit,sim): %: %.o $(call not_main,$(SIM_SRC)) $(POLICY_A) $(FORMAT_A) $(BASE_A)
	$(call unit_link,$(if $(HAVE_YAML),$(YAML_LIBS)))
$(call unit,kernels): %: %.o $(KERNELS_A) $(BASE_A)
	$(call unit_link,$(BLAS_LIBS))
$(call unit,profiler): %: %.o $(call not_main,$(PROFILER_SRC)) $(POLICY_A) $(KERNELS_A) $(if $(HAVE_ZMQ),$(WIRE_A)) $(FORMAT_A) $(BASE_A)
	$(call unit_link,$(PROFILER_LIBS))
$(call unit,wire): %: %.o $(WIRE_A) $(BASE_A)
	$(call unit_link,$(ZMQ_LIBS))
$(call unit,runner): %: %.o $(call not_main,$(RUNNER_SRC)) $(POLICY_A) $(KERNELS_A) $(WIRE_A) $(FORMAT_A) $(BASE_A)
	$(call unit_link,$(BLAS_LIBS) $(ZMQ_LIBS))

# A noisy neighbour, for the bench and for tests/cli.
HOG := $(O)/hog
$(HOG): $(O)/tests/hog.o $(BASE_A)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -pthread -o $@ $^ $(DATA_LIBS)

-include tools/targets.mk
-include $(shell find $(O) -name '*.d' 2>/dev/null)
