/* SPDX-License-Identifier: GPL-2.0 */
/* The types of helpers/layout.h, for bindgen. */
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
#define __percpu
