# tutti: build, test, run. `make demo` and `make test` install what is missing (Debian, as root).

BUILD   ?= build
VERSION := 0.1.0
CC      ?= gcc
CXX     ?= g++
OPT     ?= -O2 -g
SAN     ?=

WARN    := -Wall -Wextra -Wshadow -Wpointer-arith -Wcast-qual -Wundef -Wvla -Werror
CWARN   := $(WARN) -Wstrict-prototypes -Wmissing-prototypes
HARDEN  := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
ifeq ($(SAN),)
HARDEN  += -D_FORTIFY_SOURCE=2
endif
CPPFLAGS := -I. -I$(BUILD) -D_GNU_SOURCE -DTUTTI_VERSION='"$(VERSION)"'
CFLAGS   := -std=gnu11 $(OPT) $(CWARN) $(HARDEN) $(SAN)
CXXFLAGS := -std=c++17 $(OPT) $(WARN) $(HARDEN) $(SAN)
LDFLAGS  := -pie -Wl,-z,relro,-z,now -pthread $(SAN)

# The rooms: a table of contents.
SCHEMA := clock dtype error failpoint frame frame_io layout log op shape state
SERVER := $(sort $(basename $(notdir $(filter-out server/main.c,$(wildcard server/*.c server/*.cc)))))
WORKER := $(sort $(patsubst worker/%.c,%,$(filter-out worker/main.c,$(wildcard worker/*.c worker/shm/*.c))))

SERVER_LIBS := -lmicrohttpd -lsqlite3 -lxxhash -lstdc++ -lm
WORKER_LIBS := -lm
UNIT_LIBS   := -lcmocka -ljansson

SCHEMA_OBJ := $(SCHEMA:%=$(BUILD)/schema/%.o)
SERVER_OBJ := $(SERVER:%=$(BUILD)/server/%.o)
WORKER_OBJ := $(WORKER:%=$(BUILD)/worker/%.o)
UNIT       := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNIT_BIN   := $(UNIT:%=$(BUILD)/tests/unit/%)

all: $(BUILD)/tutti-server $(BUILD)/tutti-worker

$(BUILD)/tutti-server: $(BUILD)/server/main.o $(BUILD)/libserver.a $(BUILD)/libschema.a
	$(CC) $(LDFLAGS) -o $@ $^ $(SERVER_LIBS)
$(BUILD)/tutti-worker: $(BUILD)/worker/main.o $(BUILD)/libworker.a $(BUILD)/libschema.a
	$(CC) $(LDFLAGS) -o $@ $^ $(WORKER_LIBS)

$(BUILD)/libschema.a: $(SCHEMA_OBJ)
$(BUILD)/libserver.a: $(SERVER_OBJ)
$(BUILD)/libworker.a: $(WORKER_OBJ)
$(BUILD)/%.a:
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_$(notdir $*)) -MMD -MP -c -o $@ $<
$(BUILD)/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

# The AVX2 kernels: chosen at run time, so only this file may use the instructions.
CFLAGS_reduce_avx2 := -O3 -mavx2 -mf16c -mfma -ffp-contract=off
CFLAGS_reduce      := -O3 -ffp-contract=off

# Files that the server carries: SQL migrations, openapi.yaml.
$(BUILD)/embed.h: schema/openapi.yaml $(sort $(wildcard schema/sql/*.sql)) tests/embed.sh
	@mkdir -p $(@D)
	tests/embed.sh schema/openapi.yaml $(sort $(wildcard schema/sql/*.sql)) > $@.tmp && mv $@.tmp $@
$(BUILD)/server/store_schema.o $(BUILD)/server/api_meta.o: $(BUILD)/embed.h

# Unit tests link whatever they use from either room.
$(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libserver.a $(BUILD)/libworker.a $(BUILD)/libschema.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -o $@ $< $(LDFLAGS) $(BUILD)/libserver.a $(BUILD)/libworker.a $(BUILD)/libschema.a $(UNIT_LIBS) $(SERVER_LIBS)

unit-bins: $(UNIT_BIN)

# ---- what people type ----

PREFIX ?= /usr/local
TESTS := tests/check_rooms.sh tests/check_tables.sh $(sort $(wildcard tests/http/[0-9]*.sh)) \
         tests/http/bad_input.py $(sort $(wildcard tests/fault/[0-9]*.py)) \
         tests/conformance/conformance.py tests/load/idle.py tests/load/large.py tests/load/jobs.py \
         tests/demo_test.sh tests/readme.sh

deps:
	@tests/deps.sh build demo

demo: deps
	@$(MAKE) --no-print-directory -s all
	@BUILD=$(BUILD) tests/demo.sh

test:
	@tests/deps.sh build demo test
	@$(MAKE) --no-print-directory -s all unit-bins
	@BUILD=$(BUILD) tests/run.sh $(UNIT_BIN) $(TESTS)

run: deps
	@$(MAKE) --no-print-directory -s all
	@exec $(BUILD)/tutti-server $(ARGS)

bench: deps
	@tests/deps.sh test
	@$(MAKE) --no-print-directory -s all
	@BUILD=$(BUILD) tests/bench/run.sh

# The load tests at full size.
load: deps
	@tests/deps.sh test
	@$(MAKE) --no-print-directory -s all
	@BUILD=$(BUILD) tests/load/idle.py 30
	@BUILD=$(BUILD) tests/load/large.py 256
	@BUILD=$(BUILD) tests/load/jobs.py 20000

lint:
	@tests/deps.sh build lint
	@tests/lint.sh

# Everything again, with what the sanitizers know.
ASAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
asan:
	@ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
	$(MAKE) --no-print-directory -s BUILD=build/asan SAN='$(ASAN)' OPT='-O1 -g' test

# The threads of the server and of the worker, by what the HTTP tests make them do.
tsan:
	@tests/deps.sh build demo test
	@$(MAKE) --no-print-directory -s BUILD=build/tsan SAN=-fsanitize=thread OPT='-O1 -g' tsan-tests
tsan-tests: all
	@TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1:suppressions=tests/tsan.supp \
	BUILD=$(BUILD) tests/run.sh $(sort $(wildcard tests/http/[0-9]*.sh))

install: all
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BUILD)/tutti-server $(BUILD)/tutti-worker
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/tutti README.md ARCHITECTURE.md LICENSE

clean:
	rm -rf $(BUILD)

DEPFILES := $(SCHEMA_OBJ:.o=.d) $(SERVER_OBJ:.o=.d) $(WORKER_OBJ:.o=.d) $(UNIT_BIN:=.d) \
            $(BUILD)/server/main.d $(BUILD)/worker/main.d
-include $(wildcard $(DEPFILES))
.PHONY: all unit-bins deps demo test run bench load lint asan tsan tsan-tests install clean
.SECONDARY:
