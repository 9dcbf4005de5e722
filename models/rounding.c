/* Rounding to a grid and its gradient, each in one pass over memory. models/kernels.py compiles and loads this file;
   models/rounding.py has the same functions in torch operations, for machines without a compiler.

   Sums are taken block by block and added in order, so that they do not depend on the number of threads. */

#include <math.h>
#include <stdlib.h>

#define BLOCK 4096
#define LANES 16

static inline float clamped(float v, float low, float high)
{
    v = v < low ? low : v; /* a NaN passes both comparisons and stays one */
    return v > high ? high : v;
}

/* y = round(clamp(x / step, low, high)) * step, half to even. */
void slimfront_round(const float *restrict x, float *restrict y, long n, float step, float low, float high, int threads)
{
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long block = 0; block < (n + BLOCK - 1) / BLOCK; block++) {
        long end = (block + 1) * BLOCK < n ? (block + 1) * BLOCK : n;
        for (long i = block * BLOCK; i < end; i++)
            y[i] = nearbyintf(clamped(x[i] / step, low, high)) * step;
    }
}

/* gx = g where low < x / step < high, else 0. Returns the sum of g * (q - v inside the bounds), v = x / step and q its
   integer: the gradient of the step. */
static double round_backward(const float *restrict g, const float *restrict x, float *restrict gx, long n, float step,
                             float low, float high)
{
    float sums[LANES] = {0};
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            float v = x[i + lane] / step, gradient = g[i + lane];
            int inside = v > low && v < high;
            gx[i + lane] = inside ? gradient : 0.0f;
            sums[lane] += gradient * (nearbyintf(clamped(v, low, high)) - (inside ? v : 0.0f));
        }
    for (; i < n; i++) {
        float v = x[i] / step;
        int inside = v > low && v < high;
        gx[i] = inside ? g[i] : 0.0f;
        sums[0] += g[i] * (nearbyintf(clamped(v, low, high)) - (inside ? v : 0.0f));
    }
    double total = 0;
    for (int lane = 0; lane < LANES; lane++)
        total += sums[lane];
    return total;
}

double slimfront_round_backward(const float *g, const float *x, float *gx, long n, float step, float low, float high,
                                int threads)
{
    long blocks = (n + BLOCK - 1) / BLOCK;
    double *totals = malloc((size_t)(blocks ? blocks : 1) * sizeof(double));
    if (!totals)
        return NAN;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long block = 0; block < blocks; block++) {
        long start = block * BLOCK, length = n - start < BLOCK ? n - start : BLOCK;
        totals[block] = round_backward(g + start, x + start, gx + start, length, step, low, high);
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
        totals[row] =
            (float)round_backward(g + row * n, x + row * n, gx + row * n, n, steps[row], low, high);
}
