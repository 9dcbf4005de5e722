/* Vectors of floats as wide as the processor's registers. With wider ones the sums that loops keep in registers do not
   fit in them: gradients of depthwise convolutions took two to three times as long with 16 floats on AVX2. */

#ifndef SLIMFRONT_LANES_H
#define SLIMFRONT_LANES_H

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

/* Channels, filled up to whole vectors. */
static inline long filled(long channels)
{
    return (channels + LANES - 1) / LANES * LANES;
}

#endif
