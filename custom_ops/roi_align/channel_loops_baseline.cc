// For any processor; 16 bytes is what both x86-64 and ARM have at least.
#define VECTOR_BYTES 16
#define LOOPS BaselineLoops
#include "channel_loops.inc"
