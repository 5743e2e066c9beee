# tutti: build, test, run. `make demo` and `make test` install what is missing (Debian, as root).

GPU     ?= cuda
BUILD   ?= $(if $(filter rocm,$(GPU)),build/rocm,build)
VERSION := 0.1.0
ifeq ($(origin CC),default)
CC      := gcc
endif
ifeq ($(origin CXX),default)
CXX     := g++
endif
OPT     ?= -O2 -g
SAN     ?=

WARN    := -Wall -Wextra -Wformat-security -Wshadow -Wpointer-arith -Wcast-qual -Wundef -Wvla -Werror
CWARN   := $(WARN) -Wstrict-prototypes -Wmissing-prototypes
HARDEN  := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
ifeq ($(SAN),)
HARDEN  += -D_FORTIFY_SOURCE=2
endif
CPPFLAGS := -I. -I$(BUILD) -D_GNU_SOURCE -DTUTTI_VERSION='"$(VERSION)"'
CFLAGS   := -std=gnu11 $(OPT) $(CWARN) $(HARDEN) $(SAN)
CXXFLAGS := -std=c++17 $(OPT) $(WARN) $(HARDEN) $(SAN)
LDFLAGS  := -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code -pthread $(SAN)

# The rooms: a table of contents.
SCHEMA := chunk clock dtype error failpoint frame frame_io handshake layout log op process seccomp shape state
SERVER := announce health reaper options options_defaults options_parts options_values \
          auth body guard http http_head http_listen http_reply http_tls http_waits http_watch json json_walk negotiate params problem routes routes_near \
          text \
          codec codec_json codec_json_write codec_npy codec_raw codec_region codec_safetensors decimal narrow nearest npy_header \
          number \
          api_backward api_batch api_calls api_docs api_events api_groups api_inputs api_kv api_jobs api_jobs_delete api_jobs_read api_lane api_meta api_metrics api_outputs api_refs api_reproduce \
          api_static api_submit api_tensors api_trace api_wait api_workers job_doc lane lane_line prometheus reproduce trace \
          core core_timers \
          backward call call_gather call_key call_record call_series group job kv job_output job_promise job_run job_table job_wait record recovery resident resident_room retention scheduler steady \
          comms events fence host host_copies launch peer stage transfers transfers_chunks workers workers_door workers_frames workers_hosts workers_life workers_regions workers_send workers_tcp \
          store store_commit store_db store_flush store_groups store_jobs store_jobs_read store_keys store_kv store_late \
          store_recover store_schema store_tensors \
          account proof size static strangers tokens \
          arena blocks durable extent given id landlock memory metrics prepare private_dir promise rank_list region sandbox socket_file tensor user vitals
WORKER := across address arena_find arena_map arena_own backends carrier copy dial keeper link mask proof reduce reduce_avx2 reduce_part reduce_stream sandbox serve task \
          shm/moves shm/reduces shm/shm gloo/cost gloo/map gloo/moves gloo/plan gloo/reduces
GLOO   := gloo/comm gloo/drive gloo/flow gloo/gloo gloo/masked gloo/meet
NCCL   := nccl/calls nccl/comms nccl/device nccl/facts nccl/nccl nccl/plan nccl/resident nccl/stage

# The NCCL backend, where there is a toolkit: CUDA's; GPU=rocm is HIP and RCCL, GPU=none leaves it out. Empty
# HAVE_NCCL: whatever needs it is left out, and says so.
CUDA ?= /usr/local/cuda
ROCM ?= $(firstword $(wildcard /opt/rocm) /usr)
hash := \#
has  = $(shell printf '%s\n' '$(hash)include <$(1)>' | $(CC) -E $(2) - >/dev/null 2>&1 && echo yes)

ifeq ($(GPU),rocm)
RT_FLAGS  := -DTUTTI_ROCM -D__HIP_PLATFORM_AMD__ $(if $(filter /usr,$(ROCM)),,-isystem $(ROCM)/include)
NCCL_LIBS := -L$(ROCM)/lib -lamdhip64 -lrccl
HAVE_HIP  := $(call has,hip/hip_runtime_api.h,$(RT_FLAGS))
NO_NCCL   := no $(if $(HAVE_HIP),RCCL,HIP) in $(ROCM)
HAVE_NCCL := $(and $(HAVE_HIP),$(call has,rccl/rccl.h,$(RT_FLAGS)))
# HIP without RCCL, as Debian 12 has it: the backend is compiled with NCCL's header, which is the same, and not linked.
ifeq ($(HAVE_HIP)$(HAVE_NCCL),yes)
RT_FLAGS  += -isystem tests/simgpu/rocm -isystem $(CUDA)/include
UNLINKED  := $(if $(call has,rccl/rccl.h,$(RT_FLAGS)),$(NCCL:%=$(BUILD)/worker/%.o))
NO_NCCL   += $(if $(UNLINKED),(compiled against HIP all the same))
endif
else
RT_FLAGS  := -isystem $(CUDA)/include
NCCL_LIBS := -L$(CUDA)/lib64 -lcudart -lnccl
NO_NCCL   := $(if $(filter cuda,$(GPU)),no CUDA toolkit with NCCL in $(CUDA),GPU=$(GPU))
HAVE_NCCL := $(and $(filter cuda,$(GPU)),$(call has,cuda_runtime_api.h,$(RT_FLAGS)),$(call has,nccl.h,$(RT_FLAGS)))
endif

$(NCCL:%=$(BUILD)/worker/%.o): CPPFLAGS += $(RT_FLAGS)
ifneq ($(HAVE_NCCL),)
WORKER    += $(NCCL)
CFLAGS_backends := -DTUTTI_HAVE_NCCL
else
NCCL_LIBS :=
endif

# The gloo backend, where Debian's libgloo-dev is; GLOO_BACKEND=none leaves it out.
HAVE_GLOO := $(if $(filter none,$(GLOO_BACKEND)),,$(shell printf '$(hash)include <gloo/config.h>\n' | $(CXX) -x c++ -E - >/dev/null 2>&1 && echo yes))
ifneq ($(HAVE_GLOO),)
WORKER    += $(GLOO)
GLOO_LIBS := -lgloo -lstdc++
CFLAGS_backends += -DTUTTI_HAVE_GLOO
endif

SERVER_LIBS := -lmicrohttpd -lgnutls -lsqlite3 -lxxhash -lstdc++ -lm
WORKER_LIBS := $(NCCL_LIBS) $(GLOO_LIBS) -lgnutls -lm
UNIT_LIBS   := -lcmocka -ljansson

SCHEMA_OBJ := $(SCHEMA:%=$(BUILD)/schema/%.o)
SERVER_OBJ := $(SERVER:%=$(BUILD)/server/%.o)
WORKER_OBJ := $(WORKER:%=$(BUILD)/worker/%.o)
UNIT       := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNIT_BIN   := $(UNIT:%=$(BUILD)/tests/unit/%)
FUZZ       := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN   := $(FUZZ:%=$(BUILD)/tests/fuzz/%)
FUZZ_PARTS := bodies fuzz house life mhd theirs
, := ,

all: $(BUILD)/tutti-server $(BUILD)/tutti-worker $(UNLINKED)
	@$(if $(HAVE_NCCL),:,echo "tutti-worker: built without the NCCL backend: $(NO_NCCL)")
	@$(if $(HAVE_GLOO),:,echo "tutti-worker: built without the gloo backend: no gloo/config.h (libgloo-dev)")

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

# A header that Debian's package of gloo leaves out, where there is no other.
$(BUILD)/worker/gloo/%.o: CXXFLAGS += -idirafter worker/gloo/debian

# The AVX2 kernels: chosen at run time, so only these files may use the instructions.
CFLAGS_reduce_stream := -O3 -mavx2 -mf16c -ffp-contract=off
CFLAGS_reduce_avx2 := -O3 -mavx2 -mf16c -mfma -ffp-contract=off
CFLAGS_reduce      := -O3 -ffp-contract=off

# SQL migrations, which the server carries.
$(BUILD)/embed.h: $(sort $(wildcard schema/sql/*.sql)) tests/embed.sh
	@mkdir -p $(@D)
	tests/embed.sh $(sort $(wildcard schema/sql/*.sql)) > $@.tmp && mv $@.tmp $@
$(BUILD)/server/store_schema.o: $(BUILD)/embed.h

# Files that the server carries (server/static.def): ours, and libraries that npm brings, one copy for every build.
# WEB=none: without the libraries; the pages do without what needs them.
WEB    ?= npm
PACKED := build/$(if $(filter none,$(WEB)),unpacked,packed)
STATIC_FILES := $(shell awk -F'"' '/^STATIC/ { print $$4 }' server/static.def)
VENDOR := $(addprefix $(PACKED)/,$(filter vendor/%,$(STATIC_FILES)))
$(BUILD)/server/static.o: CFLAGS += -Wa,-I$(PACKED)
$(BUILD)/server/static.o: $(filter-out vendor/%,$(STATIC_FILES)) $(VENDOR)
build/packed/vendor/%: build/packed/done ;
build/packed/done: web/pack.sh web/package.json web/package-lock.json
	web/pack.sh build/packed && touch $@
build/unpacked/vendor/%:
	@mkdir -p $(@D) && : > $@

# Unit tests link whatever they use from either room.
$(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libserver.a $(BUILD)/libworker.a $(BUILD)/libschema.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -o $@ $< $(LDFLAGS) $(BUILD)/libserver.a $(BUILD)/libworker.a $(BUILD)/libschema.a $(UNIT_LIBS) $(SERVER_LIBS)

unit-bins: $(UNIT_BIN) $(FUZZ_BIN) $(BUILD)/tests/load/sim_workers

# A harness, and what feeds it: files (tests), or libFuzzer (make fuzz). Some functions have others put before them.
FUZZ_FEED ?= $(BUILD)/tests/fuzz/replay.o
FUZZ_WRAP := extent_alloc extent_alloc_for extent_adopt extent_shrink
FUZZ_WRAP_STORE := store_post store_post_joined store_key_read store_text_read store_job_read store_job_given store_job_list store_kv_read store_kv_list
FUZZ_WRAP_fuzz_link := $(FUZZ_WRAP_STORE) launch_adopt launch_kill launch_reaped fence_open fence_close fence_record fence_pass
FUZZ_WRAP_fuzz_worker := link_read link_send link_send_soon link_flush link_pending link_take_fd link_working_on
FUZZ_WRAP_WORKERS := workers_prepare workers_run workers_cancel
FUZZ_WRAP_fuzz_request := $(FUZZ_WRAP_STORE) $(FUZZ_WRAP_WORKERS) \
    $(patsubst %,watch_%,start stop socket_opened socket_closed body answered arm disarm)
FUZZ_WRAP_fuzz_restore := store_post store_post_joined $(FUZZ_WRAP_WORKERS)
$(BUILD)/tests/fuzz/libfuzz.a: $(FUZZ_PARTS:%=$(BUILD)/tests/fuzz/%.o)
$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_FEED) $(BUILD)/tests/fuzz/libfuzz.a $(BUILD)/libserver.a $(BUILD)/libworker.a $(BUILD)/libschema.a
	$(CC) -o $@ $^ $(LDFLAGS) $(FUZZ_ENGINE) $(patsubst %,-Wl$(,)--wrap=%,$(FUZZ_WRAP) $(FUZZ_WRAP_$(@F))) -ljansson $(SERVER_LIBS)

# Workers that do nothing at once, for tests/load/scale.py.
$(BUILD)/tests/load/sim_workers: tests/load/sim_workers.c $(BUILD)/libschema.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -o $@ $< $(LDFLAGS) $(BUILD)/libschema.a

# ---- the simulated GPU: libcudart.so.13 and libnccl.so.2 of our own, against the real headers ----

SIMGPU_CUDART := cudart memory order report stream
SIMGPU_NCCL   := nccl nccl_group nccl_reduce nccl_run
SIMGPU_CFLAGS := -std=gnu11 -O1 -g -fPIC -Wall -Wextra -Wmissing-declarations -Werror \
                 -D_GNU_SOURCE -I. -isystem $(CUDA)/include

# The doubles are never instrumented: a sanitizer in them would order what the worker did not.
$(BUILD)/simgpu/%.o: tests/simgpu/%.c
	@mkdir -p $(@D)
	$(CC) $(SIMGPU_CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/simgpu/libcudart.so.13: $(SIMGPU_CUDART:%=$(BUILD)/simgpu/%.o) tests/simgpu/libcudart.map
	$(CC) -shared -Wl,-z,now -Wl,-soname,libcudart.so.13 -Wl,--version-script=tests/simgpu/libcudart.map \
	    -o $@ $(filter %.o,$^) -pthread
$(BUILD)/simgpu/libnccl.so.2: $(SIMGPU_NCCL:%=$(BUILD)/simgpu/%.o) $(BUILD)/simgpu/libcudart.so.13 tests/simgpu/libnccl.map
	$(CC) -shared -Wl,-z,now -Wl,-soname,libnccl.so.2 -Wl,--version-script=tests/simgpu/libnccl.map \
	    -o $@ $(filter %.o %.13,$^) -pthread -lm
# Linked to the real libraries, as a worker is; which ones it runs with, LD_LIBRARY_PATH says.
$(BUILD)/simgpu/planted: $(BUILD)/simgpu/planted.o
	$(CC) -Wl,-z,now -o $@ $^ -L$(CUDA)/lib64 -lcudart -lnccl -pthread

# Many ranks on one real GPU.
$(BUILD)/tests/one_gpu.so: tests/one_gpu.c
	@mkdir -p $(@D)
	$(CC) $(SIMGPU_CFLAGS) -shared -o $@ $< -ldl

simgpu: $(if $(HAVE_NCCL),$(BUILD)/simgpu/libnccl.so.2 $(BUILD)/simgpu/planted $(BUILD)/tests/one_gpu.so)
	@$(if $(HAVE_NCCL),:,echo "simgpu: left out: $(NO_NCCL)")

# ---- the notebook client as a wheel: a package, since a module by itself cannot say that it has types ----

WHEEL := $(BUILD)/wheel/tutti-$(VERSION)-py3-none-any.whl

$(WHEEL): web/notebook/tutti.py web/notebook/pyproject.toml LICENSE
	@rm -rf $(@D)
	@mkdir -p $(@D)/src/tutti
	@cp web/notebook/tutti.py $(@D)/src/tutti/__init__.py
	@touch $(@D)/src/tutti/py.typed
	@cp LICENSE $(@D)/src
	@sed 's/@VERSION@/$(VERSION)/' web/notebook/pyproject.toml > $(@D)/src/pyproject.toml
	@/usr/bin/python3 -m build --wheel --no-isolation --outdir $(@D) $(@D)/src > $(@D)/log 2>&1 || { cat $(@D)/log >&2; false; }

# ---- what people type ----

PREFIX ?= /usr/local
# A build inside another target: on every core, unless a -j was given.
BUILD_ALL = $(MAKE) --no-print-directory -s $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

# The longest first, so that nothing waits for it in the end; then tests that wait beside tests that compute, JOBS at a time.
JOBS    ?= 5
LONGEST := tests/simgpu/suite.sh
in_order = $(filter $(LONGEST),$1) $(shell printf '%s\n' $(filter-out $(LONGEST),$1) | awk -f tests/mix.awk)
TESTS := $(LONGEST) tests/check_rooms.sh tests/check_tables.sh tests/fault/check_matrix.py tests/hardening.sh tests/apart.sh tests/unit_file.sh tests/docker/files.py $(sort $(wildcard tests/http/[0-9]*.sh)) \
         tests/http/bad_input.py tests/http/events_test.py tests/http/own_token.py tests/http/metrics.py tests/http/prometheus.py tests/http/trace.py tests/http/reproduce.py tests/http/counted_once.py tests/http/lane.py $(sort $(wildcard tests/fault/[0-9]*.py)) \
         tests/conformance/conformance.py tests/conformance/gradients.py $(filter-out $(if $(HAVE_GLOO),,$(wildcard tests/remote/1[5-9]*.py)),$(sort $(wildcard tests/remote/[0-9]*.py))) tests/load/idle.py tests/load/large.py tests/load/jobs.py \
         $(sort $(wildcard tests/notebook/client_*.py)) tests/notebook/wheel.py tests/notebook/examples.py \
         $(if $(filter none,$(WEB)),,$(sort $(wildcard tests/browser/[0-9]*.mjs))) \
         tests/load/overlap.py tests/load/calls.py tests/load/chain.py tests/load/behind.py tests/load/flood.py tests/load/scale.py tests/soak/short.py tests/notebook/notebook.py tests/simgpu/planted.sh \
         tests/simgpu/faults.py tests/simgpu/counts.py tests/simgpu/batch.py tests/simgpu/streams.py tests/simgpu/resident.py tests/simgpu/tickets.py tests/simgpu/hosts.py tests/simgpu/init.py tests/simgpu/no_gpu.sh tests/simgpu/unpinned.py tests/simgpu/check_gpu.sh tests/simgpu/mutants.sh tests/simgpu/rocm.sh \
         $(if $(HAVE_GLOO),tests/gloo/hosts.py tests/gloo/faults.py tests/gloo/served.py tests/gloo/conformance.sh) tests/fuzz/replay.sh tests/demo_test.sh tests/readme.sh

deps:
	@tests/deps.sh build demo

demo: deps
	@$(BUILD_ALL) all
	@BUILD=$(BUILD) tests/demo.sh

test:
	@tests/deps.sh build demo wheel test torch metrics $(if $(filter none,$(WEB)),,browser)
	@$(BUILD_ALL) all unit-bins simgpu $(WHEEL)
	@BUILD=$(BUILD) tests/run.sh -j $(JOBS) -t 900 -l tests/http/answers.py $(call in_order,$(filter-out $(SKIP),$(UNIT_BIN) $(TESTS)))

# The fault matrix: each of its tests once, and a line a row.
faults:
	@tests/deps.sh build demo test
	@$(BUILD_ALL) all unit-bins simgpu
	@BUILD=$(BUILD) tests/fault/faults.py

list-tests:
	@echo $(TESTS) tests/http/answers.py $(UNIT:%=tests/unit/%.c)

# What npm brings for the pages; a build does it by itself.
web: deps $(VENDOR)

# The notebook client, to be installed with pip.
wheel:
	@tests/deps.sh wheel
	@$(BUILD_ALL) $(WHEEL)
	@echo $(WHEEL)

run: deps
	@$(BUILD_ALL) all
	@exec $(BUILD)/tutti-server $(ARGS)

# Beside the peers that Debian has; PARTS="small bodies" for some of it. bench-check says what moved since ratios.json was kept.
bench: deps
	@tests/deps.sh test bench torch
	@$(BUILD_ALL) all
	@BUILD=$(BUILD) tests/bench/run.sh $(PARTS)

bench-check:
	@[ -e $(BUILD)/bench.json ] || $(MAKE) --no-print-directory bench
	@BUILD=$(BUILD) /usr/bin/python3 tests/bench/bench.py --check

# Among hosts: beside gloo and Open MPI, over network namespaces; as root.
bench-hosts: deps
	@tests/deps.sh test bench
	@$(BUILD_ALL) all
	@BUILD=$(BUILD) tests/bench/hosts.py $(ARGS)

# The images of docker/Dockerfile, by whatever Docker is here; worker-cuda takes NCCL out of NVIDIA's image.
DOCKER ?= docker
IMAGES ?= server worker-cpu worker-cuda
docker:
	@set -e; for image in $(IMAGES); do \
	    $(DOCKER) build -f docker/Dockerfile --target $$image --build-arg VERSION=$(VERSION) -t tutti-$$image .; \
	done

# The same on a base made here, compose.yaml held to its promises; with a Docker of its own, as root.
docker-test:
	@tests/deps.sh build test docker
	@$(BUILD_ALL) simgpu
	@BUILD=$(BUILD) tests/docker/docker_test.py

# On a machine with GPUs: the suite on the real libraries, and what each operation reaches.
check-gpu: deps
	@tests/deps.sh test
	@$(BUILD_ALL) all $(and $(HAVE_NCCL),$(filter cuda,$(GPU)),$(BUILD)/tests/one_gpu.so)
	@BUILD=$(BUILD) tests/check_gpu.sh

# Takes protections away, one by one, and looks that a test goes red.
planted: deps
	@tests/deps.sh test
	@tests/planted/planted.py

# The matrix of bad input, a line a row.
bad-input: deps
	@tests/deps.sh test
	@$(BUILD_ALL) all
	@BUILD=$(BUILD) tests/http/bad_input.py --table

# The load tests at full size.
load: deps
	@tests/deps.sh test
	@$(BUILD_ALL) all unit-bins
	@BUILD=$(BUILD) tests/load/idle.py 30
	@BUILD=$(BUILD) tests/load/large.py 256
	@BUILD=$(BUILD) tests/load/jobs.py 20000
	@BUILD=$(BUILD) tests/load/overlap.py 10000
	@BUILD=$(BUILD) tests/load/calls.py 5000
	@BUILD=$(BUILD) tests/load/chain.py 1000
	@BUILD=$(BUILD) tests/load/flood.py 500 500 1000 200 30
	@BUILD=$(BUILD) tests/load/scale.py 1024 256 30

# Random clients and a nemesis, for SECONDS: nothing that was acknowledged is lost, wrong, there twice or hung.
soak: SECONDS := $(or $(SECONDS),60)
soak: SEED := $(or $(SEED),1)
soak: deps
	@tests/deps.sh test
	@$(BUILD_ALL) all
	@BUILD=$(BUILD) tests/soak/soak.py --seconds $(SECONDS) --seed $(SEED) $(if $(VERBOSE),--verbose)

lint:
	@tests/deps.sh build lint
	@tests/lint.sh

# Everything again, with what the sanitizers know.
ASAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# But not what builds programs of its own, without them.
asan: SKIP := tests/simgpu/mutants.sh tests/simgpu/rocm.sh tests/notebook/wheel.py
asan:
	@ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
	$(MAKE) --no-print-directory -s BUILD=build/asan SAN='$(ASAN)' OPT='-O1 -g' SKIP='$(SKIP)' test

# Whatever reads foreign bytes against libFuzzer, SECONDS each; tests/fuzz/replay.sh runs what was found before.
SECONDS  ?= 60
SEED     ?= 1
FUZZ_SAN := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
fuzz:
	@tests/deps.sh build test fuzz
	@$(BUILD_ALL) BUILD=build/fuzz CC=clang CXX=clang++ OPT='-O1 -g' SAN='$(FUZZ_SAN)' GPU=none FUZZ_FEED= \
	    FUZZ_ENGINE=-fsanitize=fuzzer fuzz-bins
	@BUILD=build/fuzz tests/fuzz/run.sh $(SECONDS) $(SEED) $(FUZZ)
fuzz-bins: $(FUZZ_BIN)

# The threads of the server and of the worker, by what the tests over HTTP make them do.
tsan:
	@tests/deps.sh build demo test
	@$(BUILD_ALL) BUILD=build/tsan SAN=-fsanitize=thread OPT='-O1 -g' tsan-tests
tsan-tests: all simgpu
	@TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1 \
	BUILD=$(BUILD) tests/run.sh -j $(JOBS) $(call in_order,$(sort $(wildcard tests/http/[0-9]*.sh)) tests/http/bad_input.py tests/http/events_test.py \
	    tests/load/overlap.py tests/load/calls.py tests/load/chain.py tests/load/jobs.py $(sort $(wildcard tests/fault/[123]*.py)) \
	    $(sort $(wildcard tests/remote/[2-6]*.py)) tests/simgpu/resident.py)

# The demo under valgrind.
valgrind:
	@tests/deps.sh build demo valgrind
	@$(BUILD_ALL) BUILD=build/valgrind SAN=-DTUTTI_NO_SANDBOX OPT='-O1 -g' GPU=none all build/valgrind/standin.so
	@tests/valgrind/demo.sh build/valgrind
$(BUILD)/standin.so: tests/valgrind/standin.c
	$(CC) -shared -fPIC -O1 -g $(CWARN) -D_GNU_SOURCE -o $@ $< -pthread

install: all
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BUILD)/tutti-server $(BUILD)/tutti-worker
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/tutti README.md ARCHITECTURE.md LICENSE
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/tutti/web web/picture.svg

clean:
	rm -rf $(BUILD)

DEPFILES := $(SCHEMA_OBJ:.o=.d) $(SERVER_OBJ:.o=.d) $(WORKER_OBJ:.o=.d) $(UNIT_BIN:=.d) \
            $(BUILD)/server/main.d $(BUILD)/worker/main.d $(BUILD)/tests/fuzz/*.d
-include $(wildcard $(DEPFILES) $(BUILD)/simgpu/*.d)
.PHONY: all unit-bins simgpu deps web wheel demo test docker docker-test run bad-input bench bench-check bench-hosts check-gpu load lint asan fuzz fuzz-bins tsan tsan-tests valgrind install clean planted faults list-tests soak
.SECONDARY:
