# The human face of the tree: what a person can do with it. The work is done by
# the scripts; everything made lies below build/.
#
# KERNEL=trixie (default) or forky; see scripts/kernels.conf.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

# Settings reach the scripts through the environment.
export KERNEL RUN FILES MODULE MODULE_DIR SMP MEM TIMEOUT ICOUNT NMI STOPS APPEND LOG BOOT_LIMIT QEMU_ARGS EMULATOR
export DEBIAN_MIRROR TESTS JOBS PARTS N SEED CAMPAIGN TIME TARGET INPUT
unexport MAKEFLAGS

.DEFAULT_GOAL := help
.PHONY: help setup module vm shell demo test test-bochs campaign bench check host-test fuzz guest-test clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@sed -n 's/^#   \([A-Z_]*=.*\)/  \1/p' scripts/vm.sh

demo: ## the main job: memcached through a confined XDP program, and a breach stopped
	@scripts/demo.sh

test: ## everything that must pass, on both kernels; the last line is the total
	@scripts/test.sh

test-bochs: ## the guest tests that fit a second emulator, with IBT enforced (slow)
	@EMULATOR=bochs scripts/guest-test.sh

campaign: ## N injected faults into the corpus, resumable [N=1000000] [SEED=1] [KERNEL=..]
	@scripts/campaign.sh

check: ## rustfmt, clippy, C and BPF warnings, shellcheck
	@scripts/check.sh

host-test: ## the pure logic's tests, with cargo, and some fuzzing
	@scripts/host-test.sh

fuzz: ## coverage-guided fuzzing of the pure logic [TIME=60] [TARGET="image rewrite"] [INPUT=file]
	@scripts/fuzz.sh

guest-test: ## the tests in the guest [KERNEL=..] [TESTS="name name"] [JOBS=2]
	@scripts/guest-test.sh

bench: ## memcached off and on, and each gate: build/bench/report.html [PARTS="memcached scale"]
	@scripts/bench.sh

setup: ## everything that the other targets need (they do it themselves, too)
	@scripts/setup.sh vm && scripts/setup.sh module

module: ## build bailey.ko for the stock kernel [MODULE=breach] [KERNEL=..]
	@scripts/module.sh

vm: ## boot the stock kernel and run a script: RUN=script [FILES=dir] ...
	@scripts/vm.sh

shell: ## an interactive guest with the module installed
	@RUN= scripts/vm.sh

clean: ## remove what was built from this tree; keep chroots, kernels and images
	@rm -rf build/module-* build/check-* build/selftests build/demo build/bench build/host build/host-check build/fuzz/target build/results build/log build/vm-*/run build/vm-*/index*

distclean: ## remove everything that was made
	@rm -rf build
