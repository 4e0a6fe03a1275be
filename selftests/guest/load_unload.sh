#!/bin/bash
# The module comes, goes, and leaves nothing behind.
# ONCE: yes
# TAKES: 160
# SMP: 2
# TIMEOUT: 600
# BOCHS: SCALE=10
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# What the module changes and must put back: the IDT, CR4 and the shadow of it
# on each CPU, hooks.
residue() {
    ./residue
    cat /sys/kernel/tracing/enabled_functions
    echo /sys/kernel/debug/bailey*
}

times=$(few 20)
repeatedly() {
    local i
    for i in $(seq "$times"); do
        load_module || { echo "load $i"; return 1; }
        ./xdp_run load.bpf.o busy --repeat 1000 --cpus all --verdict 2 || { echo "run $i"; return 1; }
        unload_module || { echo "unload $i"; return 1; }
    done
}

residue >/tmp/before
need_module
check "the module's debugfs folder is there" test -d "$bailey"
check "the running module has changed the kernel (the next test can fail)" \
    sh -c './residue | cmp -s - /tmp/before; test $? -eq 1'
check "a loaded and unloaded module can go" unload_module
check "IDT, CR4 and hooks are as before" diff /tmp/before <(residue)
deny "the debugfs folder is gone" test -e "$bailey"
check "it loads, isolates and unloads $times times" repeatedly
check "after $times times nothing is left" diff /tmp/before <(residue)

need_module
./xdp_run load.bpf.o busy --pin /sys/fs/bpf/busy >/dev/null
deny "rmmod is refused while a program is loaded" rmmod bailey
equal "the program is isolated" isolated "$(state busy)"
rm /sys/fs/bpf/busy
check "rmmod succeeds after the program has gone" unload_module
check "a program loads and runs after the module has gone" \
    ./xdp_run load.bpf.o busy --repeat 1000 --cpus all --verdict 2

# A program from before the module is the kernel's own: it must go on.
./xdp_run load.bpf.o busy --seconds 4 --cpus all --verdict 2 >/tmp/old &
old=$!
sleep 1
need_module
sleep 1
check "the module goes while a program from before it runs" unload_module
wait $old
result $? "a program loaded before the module runs through its coming and going"
check "in the end nothing is left" diff /tmp/before <(residue)
finish
