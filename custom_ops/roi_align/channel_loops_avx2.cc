// Compiled with -mavx2 -mfma where the compiler knows them.
#if defined(__AVX2__) && defined(__FMA__)
#define VECTOR_BYTES 32
#define LOOPS Avx2Loops
#include "channel_loops.inc"
#else
#define NO_LOOPS Avx2Loops
#include "no_channel_loops.inc"
#endif
