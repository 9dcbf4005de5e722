/* Numbers that are stored as float32 or bfloat16 and computed with as float32. A bfloat16 is the upper half of a
   float32. */

#ifndef SLIMFRONT_STORAGE_H
#define SLIMFRONT_STORAGE_H

#include <stdint.h>
#include <string.h>

static inline float from_half(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static inline uint16_t to_half(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16; /* to the nearest, ties to even */
    return (uint16_t)(number != number ? bits >> 16 | 0x40 : rounded);
}

/* Number i of x. `half` is a constant where these are used, so that loops over them become vector code. */
static inline float load(const void *x, long i, int half)
{
    return half ? from_half(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}

static inline void store(void *y, long i, float number, int half)
{
    if (half)
        ((uint16_t *)y)[i] = to_half(number);
    else
        ((float *)y)[i] = number;
}

#endif
