// SKYFOLD_CLONES compiles a function for several generations of x86-64, of which the loader picks
// the best at start-up; the bodies it calls must be SKYFOLD_INLINE to be compiled along with it.
#pragma once
#include <cstdlib> // defines __GLIBC__: its loader can pick, others cannot

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define SKYFOLD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define SKYFOLD_INLINE inline __attribute__((always_inline))
#else
#define SKYFOLD_CLONES
#define SKYFOLD_INLINE inline
#endif
