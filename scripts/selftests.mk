# Compiles what the guest tests need into build/selftests/, inside the chroot:
# BPF programs from selftests/progs/*.bpf.c, runners from selftests/*.c, and a
# copy of the guest scripts. Used by selftests.sh, with VMLINUX_H set.

out := build/selftests
src := selftests

progs := $(patsubst $(src)/progs/%.bpf.c,$(out)/%.bpf.o,$(wildcard $(src)/progs/*.bpf.c))
runners := $(patsubst $(src)/%.c,$(out)/%,$(wildcard $(src)/*.c))

all: $(progs) $(runners)

# vmlinux.h is the stock kernel's types; the warning is about its own text.
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Werror -Wno-missing-declarations \
	-D__TARGET_ARCH_x86 -idirafter /usr/include/x86_64-linux-gnu -I$(dir $(VMLINUX_H)) -I$(src)/progs -I$(src)

$(out)/%.bpf.o: $(src)/progs/%.bpf.c $(VMLINUX_H) scripts/selftests.mk
	@echo "  BPF     $@"
	@clang $(BPF_CFLAGS) -MMD -MF $(out)/.$(notdir $@).d -MT $@ -c $< -o $@.tmp && mv $@.tmp $@

$(out)/%: $(src)/%.c scripts/selftests.mk
	@echo "  CC      $@"
	@gcc -O2 -g -Wall -Wextra -Werror -I$(src) -MMD -MF $(out)/.$(notdir $@).d -MT $@ \
		$< -o $@.tmp -lbpf -lelf -lz -pthread && mv $@.tmp $@

-include $(wildcard $(out)/.*.d)
