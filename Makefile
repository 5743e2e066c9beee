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

SERVER_LIBS := -lmicrohttpd -ljansson -lsqlite3 -lxxhash -lstdc++ -lm
WORKER_LIBS := -lm
UNIT_LIBS   := -lcmocka

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

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all unit-bins clean
.SECONDARY:
