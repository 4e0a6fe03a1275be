# The human face of the tree: what a person can do with it. The work is done by
# the scripts; everything made lies below build/.
#
# KERNEL=trixie (default) or forky; see scripts/kernels.conf.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

# Settings reach the scripts through the environment.
export KERNEL RUN FILES MODULE MODULE_DIR SMP MEM TIMEOUT ICOUNT NMI APPEND LOG QEMU_ARGS
export DEBIAN_MIRROR TESTS
unexport MAKEFLAGS

.DEFAULT_GOAL := help
.PHONY: help setup module vm shell

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@sed -n 's/^#   \([A-Z_]*=.*\)/  \1/p' scripts/vm.sh

setup: ## everything that the other targets need (they do it themselves, too)
	@scripts/setup.sh vm && scripts/setup.sh module

module: ## build bailey.ko for the stock kernel [MODULE=breach] [KERNEL=..]
	@scripts/module.sh

vm: ## boot the stock kernel and run a script: RUN=script [FILES=dir] ...
	@scripts/vm.sh

shell: ## an interactive guest with the module installed
	@RUN= scripts/vm.sh
