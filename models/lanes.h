/* Floats in a vector of the processor's registers. With vectors of twice the width the sums that loops keep in registers
   do not fit in them: gradients of depthwise convolutions took two to three times as long with 16 on AVX2. */

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
