#!/bin/bash
# debugfs: `helpers` has every helper and kfunc that XDP programs may call, and counts
# the calls of isolated ones: on every CPU, and after they are gone.
# SMP: 2
# TIMEOUT: 300
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# calls NAME: how often it was called, or -.
calls() {
    column helpers calls name "$1"
}

need_module policy=permit
equal "kfuncs of modules that are not there are not listed" "" "$(grep '^bpf_xdp_ct' $bailey/helpers)"
# All that have kfuncs for XDP programs.
for module in nf_conntrack nf_nat nf_flow_table; do
    check "$module is there" modprobe "$module"
done
cp $bailey/helpers /tmp/helpers
equal "one of a module's is listed, and refused" \
    "bpf_xdp_ct_lookup - refused ? - - - - - ? - kfuncs_of_modules_are_not_isolated" \
    "$(grep '^bpf_xdp_ct_lookup ' /tmp/helpers)"
note "$(awk 'NR > 1 { n[$3]++ } END { for (gate in n) printf "%s %d  ", gate, n[gate] }' /tmp/helpers)"
equal "it has the columns that are documented" \
    "name id gate arguments returns acquires releases packet callback sleeps calls reason" \
    "$(sed -n 1p /tmp/helpers)"
check "no name is there twice" test -z "$(awk '{ print $1 }' /tmp/helpers | sort | uniq -d)"

# Kfuncs alone have the prefix.
./helper_list >/tmp/kernel.list
check "the verifier says which helpers there are" test -s /tmp/kernel.list
equal "the helpers are those that the verifier lets XDP programs call" \
    "$(sort -n /tmp/kernel.list)" \
    "$(awk 'NR > 1 && $1 !~ /^(__)?bpf_|^crash_kexec$/ { print $2 }' /tmp/helpers | sort -n)"
awk '$1 ~ /^(__)?bpf_|^crash_kexec$/ { print $1 }' /tmp/helpers >/tmp/kfuncs.list
check "every kfunc that XDP programs may call is there" ./kfunc_list /tmp/kfuncs.list
bpftool btf dump file /sys/kernel/btf/vmlinux |
    awk -F "[][' ]+" '$3 == "FUNC" { print $4, $2 }' | sort >/tmp/numbers.list
equal "each kfunc has its number in the kernel's BTF" "" \
    "$(awk '$1 ~ /^(__)?bpf_|^crash_kexec$/ && $2 != "-" { print $1, $2 }' /tmp/helpers | sort | comm -23 - /tmp/numbers.list)"
equal "what is refused has a reason, and nothing else has" "" \
    "$(awk 'NR > 1 && ($3 == "refused") != ($NF != "-")' /tmp/helpers)"
equal "nothing that an isolated program can call may sleep" "" \
    "$(awk 'NR > 1 && $3 != "refused" && $10 != "no"' /tmp/helpers)"
equal "of everything that it can call the arguments are known" "" \
    "$(awk 'NR > 1 && $3 != "refused" && $4 ~ /[?]/' /tmp/helpers)"
equal "a helper is as its prototype says" \
    "xdp_load_bytes 189 audited context,number,memory,size number - - reads - no 0 -" \
    "$(grep '^xdp_load_bytes ' /tmp/helpers)"
equal "what has no gate has no count" "confined -" \
    "$(awk '$1 == "get_smp_processor_id" { print $3, $11 }' /tmp/helpers)"
equal "nor has what becomes instructions" "confined string,string,number number -" \
    "$(awk '$1 == "bpf_strnstr" { print $3, $4, $5, $11 }' /tmp/helpers)"
equal "nothing has been called" "" "$(awk 'NR > 1 && $11 !~ /^[-0]$/' /tmp/helpers)"

# Ten calls a run; one; a look-up whose value is lent; two kfuncs, in a function of its own.
./xdp_run bench.bpf.o helpers --repeat 1000 --cpus 0,1 >/dev/null
./xdp_run load.bpf.o busy --repeat 300 --cpus 1 >/dev/null
./xdp_run bench.bpf.o loan_1 --repeat 70 --cpus all >/dev/null
equal "calls on two CPUs are counted" 20000 "$(calls get_numa_node_id)"
equal "one call a run is" 300 "$(calls get_current_pid_tgid)"
equal "a look-up through the gate is" 140 "$(calls map_lookup_elem)"
equal "calls of one helper are not another's" 0 "$(calls ktime_get_boot_ns)"
equal "what the inlined look-ups of these programs were is not" 0 "$(calls map_lookup_percpu_elem)"
equal "they are the helper calls of all programs" "$(counter helper_calls)" \
    "$(awk 'NR > 1 { n += $11 } END { print n }' $bailey/helpers)"
# The programs are gone by now, or soon.
gone() {
    ! grep -qw -e helpers -e busy -e loan_1 $bailey/programs
}
check "the programs go" wait_for 5 gone
equal "what they have called stays counted" "20000 300 140" \
    "$(calls get_numa_node_id) $(calls get_current_pid_tgid) $(calls map_lookup_elem)"
./xdp_run bench.bpf.o helpers --repeat 500 --cpus 0,1 >/dev/null
equal "and others' calls are added" 30000 "$(calls get_numa_node_id)"

# A program that is not isolated calls without a gate.
./xdp_run refusals.bpf.o pointer --repeat 10 >/dev/null
equal "the others' calls are not counted" "$(counter helper_calls)" \
    "$(awk 'NR > 1 { n += $11 } END { print n }' $bailey/helpers)"
check "the module leaves" unload_module
finish
