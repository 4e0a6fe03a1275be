// SPDX-License-Identifier: GPL-2.0
/*
 * Process 1 of the guest once its root is mounted. Runs the payload's script,
 * hands its output to the host through one virtio port as it comes, and its
 * exit code through another, so that neither mixes with the kernel's console.
 * A machine without virtio (bochs) has the second and third serial port.
 * The output goes through a pipe of ours: the script sees a pipe, not a
 * terminal, and may open /dev/stderr again, which a port would refuse.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"

static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void give_up(const char *what)
{
	FILE *log = fopen("/dev/kmsg", "w");

	if (log) {
		fprintf(log, "bailey-guest: %s: %s\n", what, strerror(errno));
		fclose(log);
	}
	power_off();
}

/* The port that the host named so; -1 when this run has none. */
static int open_port(const char *name)
{
	DIR *dir = opendir(PORTS);
	struct dirent *e;
	int fd = -1;

	while (dir && (e = readdir(dir))) {
		char path[512], got[64] = "";
		FILE *f;

		snprintf(path, sizeof(path), PORTS "/%s/name", e->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%63s", got) == 1 && !strcmp(got, name)) {
			snprintf(path, sizeof(path), "/dev/%s", e->d_name);
			fd = open(path, O_RDWR | O_CLOEXEC);
		}
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return fd;
}

static int open_serial(const char *path)
{
	struct termios t;
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || tcgetattr(fd, &t))
		return -1;
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL;
	cfsetspeed(&t, B115200);
	return tcsetattr(fd, TCSANOW, &t) ? -1 : fd;
}

static void send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return;
		p += done;
		n -= done;
	}
}

/* Forwards what is there; 0 when the pipe is empty or at its end. */
static ssize_t relay(int from, int to)
{
	static char buf[16384];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n > 0)
		send_all(to, buf, n);
	return n;
}

static pid_t start(char *const argv[], int out)
{
	pid_t pid = fork();

	if (pid < 0)
		give_up("fork");
	if (pid)
		return pid;

	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	if (chdir("/files") && chdir("/"))
		_exit(126);
	execv(argv[0], argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void run_script(char *const argv[])
{
	int out = open_port("bailey.output"), verdict = open_port("bailey.verdict");
	int pipes[2], status = 0, done = 0;
	struct pollfd wait_for[2];
	sigset_t child;
	char line[32];
	pid_t pid;

	if (out < 0 || verdict < 0) {
		out = open_serial("/dev/ttyS1");
		verdict = open_serial("/dev/ttyS2");
	}
	if (out < 0 || verdict < 0)
		give_up("no ports for output and verdict");
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK))
		give_up("pipe");
	/* Only our end is non-blocking: the script's writes must wait. */
	fcntl(pipes[1], F_SETFL, 0);

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	wait_for[0] = (struct pollfd){ .fd = pipes[0], .events = POLLIN };
	wait_for[1] = (struct pollfd){ .fd = signalfd(-1, &child, SFD_CLOEXEC), .events = POLLIN };

	pid = start(argv, pipes[1]);
	while (!done) {
		struct signalfd_siginfo info;
		int got;
		pid_t p;

		if (poll(wait_for, 2, -1) < 0 && errno != EINTR)
			give_up("poll");
		if (wait_for[0].revents)
			relay(pipes[0], out);
		if (!wait_for[1].revents)
			continue;
		if (read(wait_for[1].fd, &info, sizeof(info)) < 0)
			give_up("signalfd");
		while ((p = waitpid(-1, &got, WNOHANG)) > 0)
			if (p == pid) {
				status = got;
				done = 1;
			}
	}
	/* What the script left in the pipe; daemons may still hold it open. */
	while (relay(pipes[0], out) > 0)
		;
	snprintf(line, sizeof(line), "exit %d\n",
		 WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	send_all(verdict, line, strlen(line));
	tcdrain(out);
	tcdrain(verdict);
	power_off();
}

/* A terminal for a person, on the virtio console. */
static void run_shell(void)
{
	char *const argv[] = { "/bin/bash", "--login", NULL };
	pid_t pid = fork();

	if (!pid) {
		int fd;

		setsid();
		fd = open("/dev/hvc0", O_RDWR);
		if (fd < 0)
			give_up("hvc0");
		ioctl(fd, TIOCSCTTY, 1);
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		if (chdir("/root"))
			perror("/root");
		execv(argv[0], argv);
		give_up(argv[0]);
	}
	while (waitpid(-1, NULL, 0) != pid)
		;
	power_off();
}

int main(void)
{
	char script[256] = "";
	FILE *f = fopen("/etc/bailey-script", "r");

	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	setenv("TERM", "xterm", 0);
	if (f && fgets(script, sizeof(script), f)) {
		char *const argv[] = { script, NULL };

		script[strcspn(script, "\n")] = 0;
		setenv("TERM", "dumb", 1);
		run_script(argv);
	}
	run_shell();
}
