/* Rounding to a grid and its gradient, each in one pass over memory. models/kernels.py compiles and loads this file;
   models/rounding.py has the same functions in torch operations, for machines without a compiler.

   Sums are taken block by block and added in order, so that they do not depend on the number of threads. */

#include <math.h>
#include <stdlib.h>

#include "storage.h"

#define BLOCK 4096
#define LANES 16
#define INLINE static inline __attribute__((always_inline))

static inline float clamped(float v, float low, float high)
{
    v = v < low ? low : v; /* a NaN passes both comparisons and stays one */
    return v > high ? high : v;
}

static inline long least(long a, long b)
{
    return a < b ? a : b;
}

INLINE void round_block(const void *x, void *y, int half, long start, long end, float step, float low, float high)
{
#pragma GCC ivdep
    for (long i = start; i < end; i++)
        store(y, i, nearbyintf(clamped(load(x, i, half) / step, low, high)) * step, half);
}

/* y = round(clamp(x / step, low, high)) * step, half to even. */
void slimfront_round(const void *x, void *y, long n, int half, float step, float low, float high, int threads)
{
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long start = 0; start < n; start += BLOCK)
        if (half)
            round_block(x, y, 1, start, least(start + BLOCK, n), step, low, high);
        else
            round_block(x, y, 0, start, least(start + BLOCK, n), step, low, high);
}

/* gx = g where low < x / step < high, else 0. Returns g * (q - v inside the bounds), v = x / step and q its integer:
   what this number adds to the gradient of the step. */
INLINE float round_backward_one(const void *g, const void *x, void *gx, int half, long i, float step, float low,
                                float high)
{
    float v = load(x, i, half) / step, gradient = load(g, i, half);
    int inside = v > low && v < high;
    store(gx, i, inside ? gradient : 0.0f, half);
    return gradient * (nearbyintf(clamped(v, low, high)) - (inside ? v : 0.0f));
}

/* The numbers from start to end; the sum of what they return. */
INLINE double round_backward(const void *g, const void *x, void *gx, int half, long start, long end, float step,
                             float low, float high)
{
    float sums[LANES] = {0};
    long i = start;
    for (; i + LANES <= end; i += LANES)
#pragma GCC ivdep
        for (int lane = 0; lane < LANES; lane++)
            sums[lane] += round_backward_one(g, x, gx, half, i + lane, step, low, high);
    for (; i < end; i++)
        sums[0] += round_backward_one(g, x, gx, half, i, step, low, high);
    double total = 0;
    for (int lane = 0; lane < LANES; lane++)
        total += sums[lane];
    return total;
}

double slimfront_round_backward(const void *g, const void *x, void *gx, long n, int half, float step, float low,
                                float high, int threads)
{
    long blocks = (n + BLOCK - 1) / BLOCK;
    double *totals = malloc((size_t)(blocks ? blocks : 1) * sizeof(double));
    if (!totals)
        return NAN;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long block = 0; block < blocks; block++) {
        long start = block * BLOCK, end = least(start + BLOCK, n);
        totals[block] = half ? round_backward(g, x, gx, 1, start, end, step, low, high)
                             : round_backward(g, x, gx, 0, start, end, step, low, high);
    }
    double total = 0;
    for (long block = 0; block < blocks; block++)
        total += totals[block];
    free(totals);
    return total;
}

/* The same for `rows` rows of n numbers, each with its own step: the filters of a weight. Too small for threads. */
void slimfront_round_rows(const float *restrict x, float *restrict y, long rows, long n, const float *restrict steps,
                          float low, float high)
{
    for (long row = 0; row < rows; row++) {
        float step = steps[row];
        for (long i = row * n; i < (row + 1) * n; i++)
            y[i] = nearbyintf(clamped(x[i] / step, low, high)) * step;
    }
}

/* totals[row] is what slimfront_round_backward returns. */
void slimfront_round_rows_backward(const float *g, const float *x, float *gx, long rows, long n, const float *steps,
                                   float low, float high, float *totals)
{
    for (long row = 0; row < rows; row++)
        totals[row] = (float)round_backward(g, x, gx, 0, row * n, (row + 1) * n, steps[row], low, high);
}
