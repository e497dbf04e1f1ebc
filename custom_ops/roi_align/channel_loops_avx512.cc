// Compiled with -mavx512f where the compiler knows it.
#ifdef __AVX512F__
#define VECTOR_BYTES 64
#define LOOPS Avx512Loops
#include "channel_loops.inc"
#else
#define NO_LOOPS Avx512Loops
#include "no_channel_loops.inc"
#endif
