// SPDX-License-Identifier: GPL-2.0
/*
 * Every kind of event that a process can cause, over and over, each with the
 * end it must have: what the CPU runs first of an event from user mode, it
 * runs on the page tables of user mode. Also returns to user mode that fault,
 * which the kernel notices on those page tables too.
 *
 *   user_events [--seconds N]
 *
 * Prints `ok NAME` or `not ok NAME` for each kind, and `rounds N`, when the
 * time is over or SIGINT has come.
 */
#include "runner.h"

#include <asm/ldt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

/* Table, index and privilege (SDM vol. 3, 3.4.2): LDT entries 0 and 1. */
#define LDT_STACK 7
#define LDT_ABSENT 15
#define TRAP_FLAG 0x100

static sigjmp_buf back;
static volatile sig_atomic_t steps, stop;
static __u16 return_cs, return_ss;

static void leave(int signal)
{
	siglongjmp(back, signal);
}

static void step(int signal)
{
	(void)signal;
	steps++;
}

static void interrupt(int signal)
{
	(void)signal;
	stop = 1;
}

/* Changes what the return from this handler loads. */
static void change_return(int signal, siginfo_t *info, void *context)
{
	greg_t *word = &((ucontext_t *)context)->uc_mcontext.gregs[REG_CSGSFS];

	(void)signal;
	(void)info;
	if (return_cs)
		*word = (*word & ~0xffffll) | return_cs;
	if (return_ss)
		*word = (*word & ~(0xffffll << 48)) | (long long)return_ss << 48;
}

static void handle(int signal, void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_NODEFER};

	if (sigaction(signal, &action, NULL))
		die("signal %d: %s", signal, strerror(errno));
}

/* The signal that ends `event`, 0 when it comes back. */
static int ended_by(void (*event)(void))
{
	int signal = sigsetjmp(back, 1);

	if (!signal)
		event();
	return signal;
}

static void breakpoint(void)
{
	asm volatile("int3");
}

static void illegal(void)
{
	asm volatile("ud2");
}

static void privileged(void)
{
	asm volatile("hlt");
}

static void no_gate(void)
{
	asm volatile("int $8");
}

static void divide(void)
{
	asm volatile("xorl %%ecx, %%ecx\n\tdivl %%ecx" ::: "eax", "ecx", "edx");
}

static void no_page(void)
{
	asm volatile("movb 8, %%al" ::: "eax");
}

static void return_with(__u16 cs, __u16 ss)
{
	return_cs = cs;
	return_ss = ss;
	raise(SIGUSR1);
}

static void bad_code_segment(void)
{
	return_with(LDT_ABSENT, 0);
}

static void bad_stack_segment(void)
{
	return_with(0, LDT_ABSENT);
}

static void bad_code_from_espfix(void)
{
	return_with(LDT_ABSENT, LDT_STACK);
}

static bool stack_of_ldt(void)
{
	__u16 ss;

	return_cs = 0;
	return_ss = LDT_STACK;
	/* Nothing may come between the return and the look at ss: no library call. */
	asm volatile("syscall\n\tmovw %%ss, %w0"
		     : "=r"(ss)
		     : "a"(SYS_tgkill), "D"(getpid()), "S"(syscall(SYS_gettid)), "d"(SIGUSR1)
		     : "rcx", "r11", "memory");
	return ss == LDT_STACK;
}

static bool single_step(void)
{
	steps = 0;
	asm volatile("pushfq\n\torq %0, (%%rsp)\n\tpopfq\n\tnop\n\tnop\n\tnop\n\t"
		     "pushfq\n\tandq %1, (%%rsp)\n\tpopfq" ::"i"(TRAP_FLAG), "i"(~TRAP_FLAG)
		     : "memory", "cc");
	return steps >= 6;
}

static bool old_system_call(void)
{
	int result = 20; /* getpid of 32-bit code */

	asm volatile("int $0x80" : "+a"(result)::"memory", "r8", "r9", "r10", "r11");
	return result == getpid();
}

static bool fresh_page(void)
{
	volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool zero;

	if (page == MAP_FAILED)
		return false;
	zero = !page[1];
	page[1] = 1;
	munmap((void *)page, 4096);
	return zero;
}

static bool child(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	if (pid < 0)
		return false;
	/* The signal that ends the rounds may come here. */
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return status == 0;
}

static struct {
	const char *name;
	void (*event)(void);
	int signal;
	bool (*works)(void);
	unsigned long wrong;
} kinds[] = {
	{"int3 gives SIGTRAP", breakpoint, SIGTRAP, NULL, 0},
	{"an undefined instruction gives SIGILL", illegal, SIGILL, NULL, 0},
	{"a privileged instruction gives SIGSEGV", privileged, SIGSEGV, NULL, 0},
	{"an interrupt that is not for users gives SIGSEGV", no_gate, SIGSEGV, NULL, 0},
	{"a division by zero gives SIGFPE", divide, SIGFPE, NULL, 0},
	{"an access to no page gives SIGSEGV", no_page, SIGSEGV, NULL, 0},
	{"a return to a code segment that is not there gives SIGSEGV", bad_code_segment, SIGSEGV, NULL, 0},
	{"a return to a stack segment that is not there gives SIGSEGV", bad_stack_segment, SIGSEGV, NULL, 0},
	{"a return that faults on the espfix stack gives SIGSEGV", bad_code_from_espfix, SIGSEGV, NULL, 0},
	{"a return to a stack segment of the LDT works", NULL, 0, stack_of_ldt, 0},
	{"single steps trap", NULL, 0, single_step, 0},
	{"int 0x80 is a system call", NULL, 0, old_system_call, 0},
	{"a fresh page is zero", NULL, 0, fresh_page, 0},
	{"a child runs", NULL, 0, child, 0},
};

int main(int argc, char **argv)
{
	struct user_desc stack = {.entry_number = 0, .limit = 0xfffff, .contents = MODIFY_LDT_CONTENTS_DATA, .seg_32bit = 1, .limit_in_pages = 1, .useable = 1};
	struct sigaction action = {.sa_sigaction = change_return, .sa_flags = SA_SIGINFO};
	int seconds = argc == 3 && !strcmp(argv[1], "--seconds") ? atoi(argv[2]) : 1;
	unsigned long rounds = 0;
	time_t end = time(NULL) + seconds;
	int bad = 0;

	if (syscall(SYS_modify_ldt, 1, &stack, sizeof(stack)))
		die("modify_ldt: %s", strerror(errno));
	if (sigaction(SIGUSR1, &action, NULL))
		die("SIGUSR1: %s", strerror(errno));
	handle(SIGILL, leave);
	handle(SIGSEGV, leave);
	handle(SIGBUS, leave);
	handle(SIGFPE, leave);
	handle(SIGINT, interrupt);
	do {
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
			bool right;

			handle(SIGTRAP, kinds[i].works ? step : leave);
			right = kinds[i].works ? kinds[i].works() :
						 ended_by(kinds[i].event) == kinds[i].signal;
			kinds[i].wrong += !right;
		}
		rounds++;
	} while (!stop && time(NULL) < end);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].wrong) {
			printf("# %lu of %lu times not\nnot ", kinds[i].wrong, rounds);
			bad = 1;
		}
		printf("ok %s\n", kinds[i].name);
	}
	printf("rounds %lu\n", rounds);
	return bad;
}
