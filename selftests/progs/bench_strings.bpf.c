// SPDX-License-Identifier: GPL-2.0
/*
 * What a call of the kernel's functions on strings costs: of strings in global data, once
 * and ten times.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int bpf_strlen(const char *s) __ksym;
extern int bpf_strchr(const char *s, char c) __ksym;
extern int bpf_strcmp(const char *s1, const char *s2) __ksym;
extern int bpf_strcasecmp(const char *s1, const char *s2) __ksym;
extern int bpf_strcspn(const char *s, const char *reject) __ksym;
extern int bpf_strstr(const char *s1, const char *s2) __ksym;

/* Of 16 bytes, of 64, and of 256. */
char word[] = "sixteen letters.", same[] = "sixteen letters.", upper[] = "SIXTEEN LETTERS.";
char line[] = "GET /index.html HTTP/1.1 Host: example.org Accept: text/html end";
char page[257] = {[0 ... 254] = 'p', 'q'};

#define TEN(x) x x x x x x x x x x

#define STRINGS(name, call) \
	SEC("xdp") int name##_1(struct xdp_md *ctx) \
	{ \
		call; \
		return XDP_PASS; \
	} \
	SEC("xdp") int name##_10(struct xdp_md *ctx) \
	{ \
		TEN(call;) \
		return XDP_PASS; \
	}

STRINGS(strlen, bpf_strlen(word))
STRINGS(strlen_256, bpf_strlen(page))
STRINGS(strchr, bpf_strchr(word, '.'))
STRINGS(strcmp, bpf_strcmp(word, same))
STRINGS(strcasecmp, bpf_strcasecmp(word, upper))
STRINGS(strcspn, bpf_strcspn(line, "?\r\n"))
STRINGS(strstr, bpf_strstr(line, "Accept"))

char _license[] SEC("license") = "GPL";
