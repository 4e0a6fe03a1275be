#!/bin/bash
# What a load needs and does not get: each step that can fail does, one after the
# other, and nothing stays behind.
# ONCE: yes
# SMP: 2
# TIMEOUT: 1200
# MODULE: breach
# APPEND: slub_debug=U,kmalloc-*
# SPLATS: ignore
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# Objects that live, by who allocated them: the kernel counts them with slub_debug=U.
# Of areas of vmalloc(), too. Callers of ours, of BPF's, and what Rust allocates by.
# A list that is kept may be in another cache by then, as one object still.
objects() {
    cat /sys/kernel/debug/slab/kmalloc-[0-9]*/alloc_traces | awk '
        / \[bailey\]|[ _](bpf|krealloc|kvrealloc|vrealloc|btf)_/ && $1 > 0 { sub(/\+0x.*/, "", $2); n[$2] += $1 }
        END { for (who in n) print "slab", who, n[who] }'
    awk '/\[bailey\]|bpf|krealloc|text_poke/ { n[$3]++ } END { for (who in n) print "vmalloc", who, n[who] }' \
        /proc/vmallocinfo
}

# The module's own account, and who holds it.
account() {
    grep -E '^(programs_|stores|store_patterns|domains|keys_in_use|region_pages)' $bailey/status
    awk '$1 == "bailey" { print "references", $3 }' /proc/modules
}

# as_many: of none there are more now. What is freed behind RCU may take a moment, and
# the count takes long.
as_many() {
    local try
    for try in 1 2 3; do
        objects >/tmp/after
        awk 'NR == FNR { had[$1 " " $2] = $3; next }
            $3 > had[$1 " " $2] { print $0, "had", had[$1 " " $2] + 0 }' /tmp/before /tmp/after >/tmp/grown
        [ -s /tmp/grown ] || return 0
        sleep $((2 * try))
    done
    cat /tmp/grown
    return 1
}

settled() {
    test "$(account)" = "$(cat /tmp/account)"
}

# sound: the kernel said nothing of itself but that allocations failed.
sound() {
    ! grep -E 'WARNING:|BUG:|Oops|general protection|refcount_t|stack-protector|list_(add|del) corruption' \
        /tmp/kernel
}

need_module
# An allocation that fails fills pages of the log: not on the console, which is slow.
echo 1 >/proc/sys/kernel/printk
dmesg -w >/tmp/kernel &

# Page tables of a domain's place are made once and kept: steps only of the first load.
absorb ./faults --fresh fresh stores.bpf.o
check "the domains of loads that failed go" wait_for 20 domains_are 0
account >/tmp/account
note "$(cat /tmp/account)"
objects >/tmp/before

if [ -n "${FAULTS:-}" ]; then
    # The long form: the corpus, or what of it is asked for.
    # shellcheck disable=SC2086
    absorb ./faults long $FAULTS
    # shellcheck disable=SC2086
    absorb ./faults --onwards long_onwards $FAULTS
else
    absorb ./faults --only plain plain refusals.bpf.o
    absorb ./faults stores stores.bpf.o
    absorb ./faults fields fields.bpf.o
    absorb ./faults on_demand on_demand.bpf.o
    absorb ./faults --only busy --run 2 run load.bpf.o
    absorb ./faults --only loop_uses_maps callback corpus_callback.bpf.o
    absorb ./faults --only tail_inside tail corpus_subtail.bpf.o
    absorb ./faults --only inside_of_change_packet --target attach_target.bpf.o:attached_to:change_packet \
        replacement attach_replace.bpf.o
    absorb ./faults --only get arenas arenas.bpf.o
    absorb ./faults --onwards onwards stores.bpf.o
    absorb ./faults --onwards on_demand_onwards on_demand.bpf.o
    absorb ./faults --beside --only second beside shares.bpf.o
fi
echo strict >/sys/module/bailey/parameters/policy
absorb ./faults --strict --only change strict stores.bpf.o
absorb ./faults --strict --onwards --stride 3 strict_onwards stores.bpf.o
echo permit >/sys/module/bailey/parameters/policy
absorb ./faults --kill "$(few 100)" --only change killed stores.bpf.o
absorb ./faults --kill "$(few 50)" --beside --only second killed_beside shares.bpf.o

check "the account is what it was before" wait_for 20 settled
note "$(account)"
check "of all objects and areas there are as many as before" as_many
check "a program loads and runs" ./xdp_run load.bpf.o busy --repeat 1000 --verdict 2
check "the kernel found nothing wrong but that memory was short" sound
check "the module leaves" unload_module
note "$SECONDS s"
finish
