// SPDX-License-Identifier: GPL-2.0
/*
 * The CPU: what it must have, CR4.PKS, its descriptor tables, its local APIC.
 * All of it is macros and inlines of the kernel.
 */
#include <linux/cc_platform.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/smp.h>
#include <linux/stop_machine.h>
#include <asm/apic.h>
#include <asm/cpu_entry_area.h>
#include <asm/cpufeature.h>
#include <asm/cpuid/api.h>
#include <asm/debugreg.h>
#include <asm/desc.h>
#include <asm/mce.h>
#include <asm/msr.h>
#include <asm/tlbflush.h>
#include "shims.h"

DECLARE_PER_CPU_ALIGNED(struct bailey_cpu, bailey_cpu);

/* CPUID(7,0).ECX[31] (SDM vol. 2A, CPUID); this kernel gives it no name. */
#define CPUID_7_ECX_PKS		BIT(31)
#define CR4_PKS			BIT(24)

u64 bailey_flags(void)
{
	return native_save_fl();
}

static bool has_pks(void)
{
	u32 eax, ebx, ecx, edx;

	if (boot_cpu_data.cpuid_level < 7)
		return false;
	cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
	return ecx & CPUID_7_ECX_PKS;
}

enum bailey_cpu_refusal bailey_cpu_check(void)
{
	if (boot_cpu_has(X86_FEATURE_XENPV) || boot_cpu_has(X86_FEATURE_TDX_GUEST) ||
	    cc_platform_has(CC_ATTR_GUEST_STATE_ENCRYPT))
		return BAILEY_CPU_HYPERVISOR;
	if (!has_pks())
		return BAILEY_CPU_NO_PKS;
	if (!boot_cpu_has(X86_FEATURE_SMAP))
		return BAILEY_CPU_NO_SMAP;
	if (cpu_feature_enabled(X86_FEATURE_FRED))
		return BAILEY_CPU_FRED;
	if (cpu_feature_enabled(X86_FEATURE_CALL_DEPTH))
		return BAILEY_CPU_CALL_DEPTH;
	return BAILEY_CPU_OK;
}

/*
 * A raw write to CR4 would be undone by the next toggle of TSD, which writes
 * the kernel's shadow: hence cr4_update_irqsoff (resolved by name: its export
 * is for KVM alone).
 */
void bailey_cpu_enable(void)
{
	wrmsrq(BAILEY_MSR_PKRS, 0);
	bailey_k_cr4_update_irqsoff(CR4_PKS, 0);
}

void bailey_cpu_disable(void)
{
	wrmsrq(BAILEY_MSR_PKRS, 0);
	bailey_k_cr4_update_irqsoff(0, CR4_PKS);
}

void bailey_cpu_read_ist(unsigned int cpu, u64 ist[4])
{
	int i;

	for (i = 0; i < 4; i++)
		ist[i] = per_cpu(cpu_tss_rw, cpu).x86_tss.ist[i];
}

u64 bailey_cpu_tss_ist(unsigned int cpu)
{
	return (u64)&per_cpu(cpu_tss_rw, cpu).x86_tss.ist[4];
}

unsigned int bailey_cpu_possible(void)
{
	return nr_cpu_ids;
}

int bailey_cpu_is_possible(unsigned int cpu)
{
	return cpu_possible(cpu);
}

/* A toggle of CR4.PGE flushes global entries of every PCID (SDM vol. 3, 4.10.4.1). */
static void flush_global(void *unused)
{
	unsigned long flags;

	local_irq_save(flags);
	bailey_k_cr4_update_irqsoff(0, X86_CR4_PGE);
	bailey_k_cr4_update_irqsoff(X86_CR4_PGE, 0);
	local_irq_restore(flags);
}

void bailey_cpu_flush_global(void)
{
	on_each_cpu(flush_global, NULL, 1);
}

/*
 * A CPU that comes up runs softirqs before its callback switches keys on, and
 * one that goes down after its callback. Meanwhile its index leads to no frame,
 * so a program is turned away rather than run open.
 */
static enum cpuhp_state online_state, dead_state;
static bool leaving;

static void enable_here(void *unused)
{
	bailey_cpu_enable();
	raw_cpu_write(bailey_cpu.index, raw_smp_processor_id());
}

static int cpu_up(unsigned int cpu)
{
	int err = bailey_cpu_online(cpu);

	if (!err)
		smp_call_function_single(cpu, enable_here, NULL, 1);
	return err;
}

static void disable_here(void *unused)
{
	raw_cpu_write(bailey_cpu.index, nr_cpu_ids);
	bailey_cpu_disable();
}

/* A CPU that goes offline keeps its keys to the end: programs may still run there. */
static int cpu_down(unsigned int cpu)
{
	if (leaving)
		smp_call_function_single(cpu, disable_here, NULL, 1);
	return 0;
}

static int cpu_dead(unsigned int cpu)
{
	per_cpu(bailey_cpu, cpu).index = nr_cpu_ids;
	return 0;
}

void bailey_cpuhp_remove(void)
{
	leaving = true;
	if (online_state)
		cpuhp_remove_state(online_state);
	if (dead_state)
		cpuhp_remove_state_nocalls(dead_state);
}

int bailey_cpuhp_install(void)
{
	int state = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "bailey:dead", NULL, cpu_dead);

	if (state < 0)
		return state;
	dead_state = state;
	state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "bailey:online", cpu_up, cpu_down);
	if (state < 0) {
		bailey_cpuhp_remove();
		return state;
	}
	online_state = state;
	return 0;
}

int bailey_cpu_has_ibt(void)
{
	return cpu_feature_enabled(X86_FEATURE_IBT);
}

int bailey_has_5_levels(void)
{
	return pgtable_l5_enabled();
}

unsigned int bailey_pgdir_shift(void)
{
	return PGDIR_SHIFT;
}

u64 bailey_idt_base(void)
{
	struct desc_ptr idt;

	store_idt(&idt);
	return idt.address;
}

int bailey_stop_machine(int (*fn)(void *), void *arg)
{
	return stop_machine(fn, arg, NULL);
}

static int nothing(void *unused)
{
	return 0;
}

/*
 * Returns when every run that was under way has ended. A run keeps preemption
 * off from enter to exit, so where a task of ours has run there is none left; a
 * CPU that comes online begins with new ones. Not RCU: who repeats test runs is
 * in one read section with all of them.
 */
void bailey_cpu_wait_for_runs(void)
{
	unsigned int cpu;

	cpus_read_lock();
	for_each_online_cpu(cpu)
		smp_call_on_cpu(cpu, nothing, NULL, false);
	cpus_read_unlock();
}

/* 32 vectors of the local APIC's in-service register (SDM vol. 3, 11.8.4). */
u32 bailey_apic_isr(unsigned int word)
{
	return apic->read(APIC_ISR + word * 0x10);
}

void bailey_apic_eoi(void)
{
	apic->eoi();
}

void bailey_apic_self(unsigned int vector)
{
	apic->send_IPI_self(vector);
}

/* An NMI has no vector, so not by the shorthand for the CPU itself (SDM vol. 3, 11.6.1). */
void bailey_apic_nmi(void)
{
	apic->send_IPI(raw_smp_processor_id(), NMI_VECTOR);
}

/*
 * Whether this CPU has begun a machine check that nobody has handled. It says so
 * itself: IA32_MCG_STATUS.MCIP is set by the exception and cleared by the
 * kernel's handler at its end (do_machine_check()); a second exception in between
 * shuts the CPU down (SDM vol. 3, "IA32_MCG_STATUS MSR").
 */
int bailey_cpu_in_machine_check(void)
{
	u64 status;

	if (!cpu_feature_enabled(X86_FEATURE_MCA))
		return 0;
	rdmsrq(MSR_IA32_MCG_STATUS, status);
	return (status & MCG_STATUS_MCIP) != 0;
}

/*
 * Whether DR6 has the cause of a #DB. The kernel's handler resets it
 * (debug_read_reset_dr6()), so here one has come that it was not called for.
 */
int bailey_cpu_in_debug_exception(void)
{
	return ((native_get_debugreg(6) ^ DR6_RESERVED) & (DR_TRAP_BITS | DR_STEP)) != 0;
}
