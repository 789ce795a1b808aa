# Builds apbench, its tests and its benchmarks. `make` builds build/apbench; `make test` sets up,
# builds and runs all tests; SANITIZE=address,undefined builds everything anew under build-$(SANITIZE).
# WERROR=1 (CI) turns warnings into errors; V=1 shows the commands.
comma := ,
BUILD := build$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))$(if $(DELAYS),-delays)
CC ?= cc
Q := $(if $(V),,@)

MPI_CFLAGS := $(shell pkg-config --cflags ompi-c 2>/dev/null)
MPI_LIBS := $(shell pkg-config --libs ompi-c 2>/dev/null)

# The CUDA toolkit: CUDA_HOME, else where nvcc is. Without it the build has the cpu device alone, and
# says so; `make CUDA_HOME=` asks for that.
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(firstword $(wildcard $(shell command -v nvcc 2>/dev/null) /usr/local/cuda/bin/nvcc)))
CUDA := $(if $(SANITIZE),,$(if $(wildcard $(CUDA_HOME)/bin/nvcc),$(CUDA_HOME)))
CUDA_CFLAGS := $(if $(CUDA),-DWITH_CUDA -isystem $(CUDA)/include)
CUDA_LIBS := $(if $(CUDA),-L$(CUDA)/lib64 -Wl$(comma)-rpath$(comma)$(CUDA)/lib64 -lcublasLt -lnccl -lcudart_static -ldl -lrt)
ifneq ($(CUDA),)
ifeq ($(shell printf '\043include <nccl.h>\n' | $(CC) $(CUDA_CFLAGS) -E - >/dev/null 2>&1 && echo found),)
ifneq ($(MAKECMDGOALS),clean)
$(error nvcc is in $(CUDA)/bin, but nccl.h is not found: install NCCL (libnccl-dev), or build the cpu device alone with `make CUDA_HOME=`)
endif
endif
endif
# NVTX is a header alone, and names ranges for a profiler on any device; without it there are none.
NVTX := $(firstword $(patsubst %/nvtx3/nvToolsExt.h,%,$(wildcard $(CUDA_HOME)/include/nvtx3/nvToolsExt.h /usr/include/nvtx3/nvToolsExt.h)))
# The paper's A800s (sm_80, PTX for what comes between and after) and Hopper's own instructions.
GPU_CODE ?= -gencode arch=compute_80,code=[sm_80,compute_80] -gencode arch=compute_90a,code=sm_90a
# No exceptions, rtti or guarded statics: everything links as C.
NVCCFLAGS := -std=c++17 -O3 -lineinfo $(GPU_CODE) $(if $(DELAYS),-DATTENTION_DELAYS) -Xcompiler=-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-Wall \
             $(if $(WERROR),-Werror all-warnings)

CFLAGS := -std=gnu11 -O3 -g -fopenmp -Wall -Wextra $(if $(WERROR),-Werror) \
          $(if $(SANITIZE),-O1 -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
CPPFLAGS := -I. -I$(BUILD) -D_GNU_SOURCE $(if $(DELAYS),-DATTENTION_DELAYS) $(if $(MPI_LIBS),-DWITH_MPI) $(CUDA_CFLAGS) -MMD -MP
LDLIBS := -fopenmp $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -ldnnl -ljansson -lonig \
          -licuuc -licui18n $(MPI_LIBS) $(CUDA_LIBS) -lpthread -lm

NEED_CUDA := kernels/cuda/% harness/comm/nccl/%
SOURCES := $(wildcard harness/*.c harness/*/*.c harness/*/*/*.c methods/*.c kernels/*.c kernels/*/*.c kernels/*/*/*.c kernels/*/*/*/*.c datasets/*.c datasets/*/*.c)
SOURCES := $(if $(MPI_LIBS),$(SOURCES),$(filter-out harness/comm/mpi/%,$(SOURCES)))
SOURCES := $(if $(CUDA),$(SOURCES) $(wildcard kernels/cuda/*.cu kernels/cuda/*/*.cu kernels/cuda/*/*/*.cu),$(filter-out $(NEED_CUDA),$(SOURCES)))
DEVICES := cpu$(if $(CUDA), and cuda ($(CUDA)),$(if $(SANITIZE),, alone ($(if $(filter file,$(origin CUDA_HOME)),nvcc was not found,no nvcc in CUDA_HOME='$(CUDA_HOME)'))))
OBJECTS := $(patsubst %,$(BUILD)/%.o,$(basename $(SOURCES)))
LIBRARY := $(filter-out $(BUILD)/harness/main.o,$(OBJECTS))
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
TEST_SUPPORT := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/test_% tests/bench_% tests/mpi_% tests/launch_%,$(wildcard tests/*.c)))
# Programs that checks start as ranks of a launch; they have a main() of their own.
LAUNCHED := $(patsubst tests/%.c,$(BUILD)/tests/%,$(if $(MPI_LIBS),$(wildcard tests/mpi_*.c)) $(wildcard tests/launch_*.c))
# Programs that test and measure the cuda device; they have a main() of their own.
GPU_PROGRAMS := $(if $(CUDA),$(patsubst tests/gpu/%.c,$(BUILD)/tests/gpu/%,$(wildcard tests/gpu/*.c)))
GPU_SUPPORT := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/gpu/support/*.c))

# A profiler of one page, for the check of NVTX ranges.
NVTX_RECORDER := $(if $(NVTX),$(BUILD)/tests/nvtx_recorder.so)

all: $(BUILD)/apbench

$(BUILD)/apbench: $(OBJECTS)
	@echo "  LINK $@"
	$(Q)$(CC) -o $@ $^ $(LDLIBS)
	@echo "  $@ has the devices: $(DEVICES)"

$(BUILD)/tests/mpi_%: $(BUILD)/tests/mpi_%.o $(BUILD)/tests/comm_cases.o $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/launch_%: $(BUILD)/tests/launch_%.o $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(TEST_SUPPORT) $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) -o $@ $^ -lcriterion $(LDLIBS)

$(BUILD)/tests/gpu/comm_nccl: $(BUILD)/tests/gpu/comm_nccl.o $(BUILD)/tests/comm_cases.o $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/gpu/%: $(BUILD)/tests/gpu/%.o $(GPU_SUPPORT) $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/bench_tokenizer: $(BUILD)/tests/long_texts.o
$(BUILD)/tests/bench_%: $(BUILD)/tests/bench_%.o $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/nvtx_recorder.so: tests/nvtx/recorder.c
	@mkdir -p $(@D)
	@echo "  LINK $@"
	$(Q)$(CC) -isystem $(NVTX) -std=gnu11 -O2 -Wall -Wextra $(if $(WERROR),-Werror) -fPIC -shared -o $@ $<

# Objects made with and without CUDA, MPI or NVTX do not fit together: another choice makes all anew.
$(BUILD)/configuration: force
	@mkdir -p $(@D)
	@echo '$(if $(CUDA),cuda $(CUDA)) $(if $(MPI_LIBS),mpi) $(if $(NVTX),nvtx)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(BUILD)/%.o: %.c $(BUILD)/configuration
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_$(basename $(notdir $<))) -c -o $@ $<

$(BUILD)/%.o: %.cu $(BUILD)/configuration
	@mkdir -p $(@D)
	@echo "  NVCC $<"
	$(Q)$(CUDA)/bin/nvcc -I. $(NVCCFLAGS) $(NVCCFLAGS_$(basename $(notdir $<))) -MMD -MP -c -o $@ $<

# The commit, for --version and the CSV; rewritten only when it changes.
$(BUILD)/build_commit.h: force
	@mkdir -p $(@D)
	@echo '#define BUILD_COMMIT "$(shell harness/setup/commit.sh)"' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(OBJECTS): | $(BUILD)/build_commit.h
force:

# Per-file flags: CFLAGS_<file name without .c>.
# Retaining heads: square roots and choices as vectors.
CFLAGS_heads = -fno-math-errno -fno-trapping-math
CFLAGS_learn = -fno-math-errno -fno-trapping-math
CFLAGS_ranges = $(if $(NVTX),-DWITH_NVTX -isystem $(NVTX))
$(BUILD)/harness/comm/mpi/%.o: CPPFLAGS += $(MPI_CFLAGS)

# The cuda device as a library that Python loads, so that peers and ours are timed in turn on the same
# tensors (make bench-gpu). Its objects alone are position-independent.
PEER_LIBRARY := $(if $(CUDA),$(BUILD)/tests/libapbench_peer.so)
PEER_OBJECTS := $(BUILD)/tests/peer/gpu/shim.o $(BUILD)/harness/error.o $(BUILD)/kernels/visible.o \
                $(filter $(BUILD)/kernels/cuda/%,$(OBJECTS))
$(PEER_OBJECTS): CFLAGS += -fPIC
$(PEER_OBJECTS): NVCCFLAGS += -Xcompiler=-fPIC
$(BUILD)/tests/libapbench_peer.so: $(PEER_OBJECTS)
	@echo "  LINK $@"
	$(Q)$(CC) -shared -o $@ $^ -Wl,--no-undefined -Wl,--as-needed $(CUDA_LIBS) -lpthread -lm

tests: $(TESTS) $(LAUNCHED) $(NVTX_RECORDER)

clean:
	rm -rf build build-*

# ---- Set-up, tests, comparisons (harness/setup, tests/run.sh) ----
# `test` calls make anew behind set-up: on a bare machine pkg-config, whose answers the build needs,
# comes only with set-up. It builds with all cores unless told otherwise.
AGAIN = $(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

setup:
	@harness/setup/setup.sh

# `make test ONLY="tokenizer mpi"` runs the suites and checks whose names hold one of the words.
test: setup
	+@$(AGAIN) run-tests

run-tests: $(BUILD)/apbench $(TESTS) $(LAUNCHED) $(NVTX_RECORDER)
	@tests/run.sh $(BUILD) $(ONLY)

test-mpi: setup
	+@$(AGAIN) run-tests ONLY=mpi

# On a machine with a GPU (no set-up: it needs nvcc, and what apbench links). test-gpu takes ONLY too;
# test-gpu-sanitize runs tiny sizes under compute-sanitizer.
NEED_NVCC = @$(if $(CUDA),,echo "$@: no nvcc was found: this build has no cuda device" >&2; exit 1)

gpu-programs: $(GPU_PROGRAMS)

test-gpu: $(BUILD)/apbench $(GPU_PROGRAMS)
	$(NEED_NVCC)
	@tests/gpu/run.sh $(BUILD) $(ONLY)

test-gpu-sanitize: $(GPU_PROGRAMS)
	$(NEED_NVCC)
	@tests/gpu/run.sh $(BUILD) --sanitize $(ONLY)

# The Hopper attention kernel with its producer and consumers delayed at random where they meet (a build
# of its own, build-delays); LISTS=10000 random lists instead of 1000.
test-gpu-delays:
	$(NEED_NVCC)
	+@$(AGAIN) DELAYS=1 build-delays/tests/gpu/attention build-delays/tests/gpu/attention_stress
	@status=0; build-delays/tests/gpu/attention --case hopper || status=1; \
	build-delays/tests/gpu/attention_stress --lists $(or $(LISTS),1000) --without best \
	|| status=1; exit $$status

# Reference logits anew, and the comparison with PyTorch: both fetch PyTorch (several GB).
references: setup
	@tests/reference/make.sh

bench-peer: setup
	+@$(AGAIN) $(BUILD)/apbench
	@tests/peer/run.sh $(BUILD)/apbench

# On a machine with an NVIDIA GPU and PyTorch: attention, products and whole prefill in turn with
# PyTorch's, ratios under results/local/gpu-peer. ARGUMENTS="--quick" takes about two minutes.
bench-gpu:
	$(NEED_NVCC)
	+@$(AGAIN) $(BUILD)/apbench $(PEER_LIBRARY)
	@tests/peer/gpu/run.sh $(BUILD) $(ARGUMENTS)

# Attention alone, as each method calls it, in turn with cuDNN and FlashAttention-2; errors of ours and of
# FlashAttention-2. ARGUMENTS="--quick", "--only causal,ring,apb,decode,error", "--budget SECONDS".
bench-attention:
	$(NEED_NVCC)
	+@$(AGAIN) $(BUILD)/apbench $(PEER_LIBRARY)
	@tests/peer/gpu/run.sh $(BUILD) calls $(ARGUMENTS)

# Fuzz targets (tests/fuzz), one for each parser of files and words that others write: clang's libFuzzer
# with sanitizers, FUZZ_SECONDS each, as many at a time as there are cores. ONLY="tokenizer text" runs
# some; what crashed one is kept in $(BUILD)/fuzz. The parsers alone are built, without CUDA, MPI or OpenMP.
FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60
FUZZ := $(BUILD)/fuzz
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,$(FUZZ)/%,$(filter-out tests/fuzz/scratch.c,$(wildcard tests/fuzz/*.c)))
FUZZ_PARSERS := datasets/% methods/% harness/records/% harness/error.c harness/folders.c harness/options.c \
                harness/program_files.c harness/timeline.c harness/ranges.c harness/comm/link.c \
                harness/report/intervals/samples.c \
                harness/model/config.c harness/model/json_file.c harness/model/presets.c harness/model/safetensors.c
FUZZ_OBJECTS := $(patsubst %.c,$(FUZZ)/objects/%.o,tests/fuzz/scratch.c $(filter $(FUZZ_PARSERS),$(SOURCES)))
FUZZ_FLAGS := -std=gnu11 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined \
              -Wall -Wextra -Wno-unknown-pragmas $(if $(WERROR),-Werror)
FUZZ_LIBS := -ljansson -lonig -licuuc -licui18n -lpthread -lm

$(FUZZ)/objects/%.o: %.c
	@mkdir -p $(@D)
	@echo "  FUZZ $<"
	$(Q)$(FUZZ_CC) -I. -I$(BUILD) -D_GNU_SOURCE -MMD -MP $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -c -o $@ $<

$(FUZZ)/parsers.a: $(FUZZ_OBJECTS)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(FUZZ_TARGETS): $(FUZZ)/%: $(FUZZ)/objects/tests/fuzz/%.o $(FUZZ)/parsers.a
	@echo "  LINK $@"
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(FUZZ_LIBS)

fuzz:
	@harness/setup/packages.sh fuzz
	+@$(AGAIN) $(FUZZ_TARGETS)
	@tests/fuzz/run.sh $(FUZZ) $(FUZZ_SECONDS) $(ONLY)

# GFLOP/s and GB/s of the cpu device's operations (not a test).
bench-kernels: setup
	+@$(AGAIN) $(BUILD)/tests/bench_kernels
	@$(BUILD)/tests/bench_kernels

# Seconds and memory that 100 MB of text take to become tokens, natural and hostile (not a test).
bench-tokenizer: setup
	+@$(AGAIN) $(BUILD)/tests/bench_tokenizer
	@$(BUILD)/tests/bench_tokenizer $(ARGUMENTS)

.PHONY: all force tests setup test run-tests test-mpi fuzz gpu-programs test-gpu test-gpu-delays \
        test-gpu-sanitize references bench-peer bench-gpu bench-attention bench-kernels bench-tokenizer clean
.SECONDARY:
-include $(OBJECTS:.o=.d) $(TESTS:=.d) $(LAUNCHED:=.d) $(TEST_SUPPORT:.o=.d)
-include $(FUZZ_OBJECTS:.o=.d) $(patsubst $(FUZZ)/%,$(FUZZ)/objects/tests/fuzz/%.d,$(FUZZ_TARGETS))
-include $(GPU_PROGRAMS:=.d) $(GPU_SUPPORT:.o=.d) $(PEER_OBJECTS:.o=.d)
