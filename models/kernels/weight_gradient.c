/* The gradient of a convolution's weight in bfloat16, for tensors whose channels lie innermost. models/convolution.py
   calls it.

   gw[o][i][j][c] = sum over images, rows and columns of g[row][column][o] x[row s + i - p][column s + j - p][c].

   For one row i of the kernel, its columns j and the channels c lie side by side in a row of x: they are the lanes of
   vectors, filled whatever the number of channels. The processor multiplies pairs of bfloat16 and adds both products
   to a float, so two neighbouring columns are interleaved, in x and in g.

   Sums are taken slice by slice of the batch, so that they do not depend on the number of threads. */

#include "storage.h"

#ifdef __AVX512BF16__
#include <immintrin.h>

#define LANES 16
#define SLICES 8
#define OUTPUTS 4 /* output channels, and */
#define VECTORS 4 /* vectors, whose sums stay in registers */
#define GROUP 4   /* images that are worked on at a time, so that sums are moved seldom */
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    long channels, outputs, height, width, kernel, stride, out_height, out_width;
    long pairs, line, lanes;       /* of a row: pairs of columns of g, interleaved numbers of x, lanes of sums */
    long blocks;                   /* of output channels */
    long x_size, g_size, sum_size; /* interleaved numbers of an image of x and of g; sums of a slice */
} layer;

static layer layer_of(long channels, long outputs, long height, long width, long kernel, long stride)
{
    layer l = {.channels = channels, .outputs = outputs, .height = height, .width = width};
    l.kernel = kernel;
    l.stride = stride;
    l.out_height = (height + stride - 1) / stride;
    l.out_width = (width + stride - 1) / stride;
    l.pairs = (l.out_width + 1) / 2;
    l.lanes = (kernel * channels + LANES - 1) / LANES * LANES;
    l.line = 2 * (l.pairs - 1) * stride * channels + l.lanes;
    l.blocks = (outputs + OUTPUTS - 1) / OUTPUTS;
    l.x_size = (height + kernel - 1) * l.line;
    l.g_size = l.out_height * l.pairs * l.blocks * OUTPUTS;
    l.sum_size = kernel * l.blocks * OUTPUTS * l.lanes;
    return l;
}

static inline uint32_t pair(uint16_t first, uint16_t second)
{
    return (uint32_t)second << 16 | first;
}

/* An image with its margin, every number beside the one a stride to the right. `row` is room for a row with margins. */
static void interleave_x(const layer *l, uint32_t *restrict to, const uint16_t *x, uint16_t *restrict row)
{
    long margin = l->kernel / 2, shift = l->stride * l->channels, count = l->width * l->channels;
    memset(row, 0, (size_t)(l->line + shift) * sizeof *row);
    memset(to, 0, (size_t)l->x_size * sizeof *to);
    for (long y = 0; y < l->height; y++) {
        memcpy(row + margin * l->channels, x + y * count, (size_t)count * sizeof *row);
        uint32_t *restrict line = to + (y + margin) * l->line;
        for (long i = 0; i < l->line; i++)
            line[i] = pair(row[i], row[i + shift]);
    }
}

/* Rows of pairs of columns; channels filled up to whole blocks, odd columns with zeros. */
static void interleave_g(const layer *l, uint32_t *restrict to, const uint16_t *restrict g)
{
    long filled = l->blocks * OUTPUTS;
    memset(to, 0, (size_t)l->g_size * sizeof *to);
    for (long y = 0; y < l->out_height; y++)
        for (long p = 0; p < l->pairs; p++, to += filled) {
            const uint16_t *restrict first = g + (y * l->out_width + 2 * p) * l->outputs;
            if (2 * p + 1 < l->out_width)
                for (long o = 0; o < l->outputs; o++)
                    to[o] = pair(first[o], first[l->outputs + o]);
            else
                for (long o = 0; o < l->outputs; o++)
                    to[o] = first[o];
        }
}

/* Adds what `count` images give to V vectors of the sums of OUTPUTS channels, in row i of the kernel. */
INLINE void multiply(const layer *l, const uint32_t *x, const uint32_t *g, float *sums, long count, long i, const int V)
{
    const long filled = l->blocks * OUTPUTS, step = 2 * l->stride * l->channels;
    __m512 sum[OUTPUTS * VECTORS];
#pragma GCC unroll 16
    for (int n = 0; n < OUTPUTS * V; n++)
        sum[n] = _mm512_loadu_ps(sums + n / V * l->lanes + n % V * LANES);
    for (long image = 0; image < count; image++)
        for (long y = 0; y < l->out_height; y++) {
            const uint32_t *from = x + image * l->x_size + (y * l->stride + i) * l->line;
            const uint32_t *gradient = g + image * l->g_size + y * l->pairs * filled;
            for (long p = 0; p < l->pairs; p++, from += step, gradient += filled) {
                __m512bh v[VECTORS];
#pragma GCC unroll 4
                for (int n = 0; n < V; n++)
                    v[n] = (__m512bh)_mm512_loadu_si512(from + n * LANES);
#pragma GCC unroll 4
                for (int o = 0; o < OUTPUTS; o++) {
                    __m512bh both = (__m512bh)_mm512_set1_epi32((int)gradient[o]);
#pragma GCC unroll 4
                    for (int n = 0; n < V; n++)
                        sum[o * V + n] = _mm512_dpbf16_ps(sum[o * V + n], both, v[n]);
                }
            }
        }
#pragma GCC unroll 16
    for (int n = 0; n < OUTPUTS * V; n++)
        _mm512_storeu_ps(sums + n / V * l->lanes + n % V * LANES, sum[n]);
}

static void multiply_all(const layer *l, const uint32_t *x, const uint32_t *g, float *sums, long count)
{
    for (long i = 0; i < l->kernel; i++)
        for (long block = 0; block < l->blocks; block++)
            for (long lane = 0; lane < l->lanes; lane += VECTORS * LANES) {
                long left = (l->lanes - lane) / LANES;
                const uint32_t *from = x + lane, *gradient = g + block * OUTPUTS;
                float *to = sums + (i * l->blocks + block) * OUTPUTS * l->lanes + lane;
                if (left >= 4)
                    multiply(l, from, gradient, to, count, i, 4);
                else if (left == 3)
                    multiply(l, from, gradient, to, count, i, 3);
                else if (left == 2)
                    multiply(l, from, gradient, to, count, i, 2);
                else
                    multiply(l, from, gradient, to, count, i, 1);
            }
}

int slimfront_has_weight_gradient(void)
{
    return 1;
}

/* Numbers of `room` that the function below needs. */
long slimfront_weight_gradient_room(long channels, long outputs, long height, long width, long kernel,
                                    long stride, int threads)
{
    layer l = layer_of(channels, outputs, height, width, kernel, stride);
    long of_thread = GROUP * (l.x_size + l.g_size) + l.line + stride * channels;
    return SLICES * l.sum_size + threads * of_thread;
}

/* x (images x height x width x channels), g (images x out height x out width x outputs), both bfloat16, to the
   gradient gw (outputs x kernel x kernel x channels), float. */
void slimfront_weight_gradient(const uint16_t *g, const uint16_t *x, float *gw, long images, long channels,
                               long outputs, long height, long width, long kernel, long stride, float *room,
                               int threads)
{
    layer l = layer_of(channels, outputs, height, width, kernel, stride);
    long of_thread = GROUP * (l.x_size + l.g_size) + l.line + stride * channels;
    float *sums = room;
    memset(sums, 0, (size_t)(SLICES * l.sum_size) * sizeof *sums);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long part = 0; part < threads; part++) {
        uint32_t *wide = (uint32_t *)(room + SLICES * l.sum_size) + part * of_thread;
        uint32_t *gradient = wide + GROUP * l.x_size;
        uint16_t *row = (uint16_t *)(gradient + GROUP * l.g_size);
        for (long slice = part; slice < SLICES; slice += threads) {
            long end = images * (slice + 1) / SLICES;
            for (long start = images * slice / SLICES; start < end; start += GROUP) {
                long count = end - start < GROUP ? end - start : GROUP;
                for (long n = 0; n < count; n++) {
                    interleave_x(&l, wide + n * l.x_size, x + (start + n) * height * width * channels, row);
                    interleave_g(&l, gradient + n * l.g_size, g + (start + n) * l.out_height * l.out_width * outputs);
                }
                multiply_all(&l, wide, gradient, sums + slice * l.sum_size, count);
            }
        }
    }
    for (long slice = 1; slice < SLICES; slice++)
        for (long n = 0; n < l.sum_size; n++)
            sums[n] += sums[slice * l.sum_size + n];
    for (long o = 0; o < outputs; o++)
        for (long i = 0; i < kernel; i++)
            memcpy(gw + (o * kernel + i) * kernel * channels, sums + (i * l.blocks * OUTPUTS + o) * l.lanes,
                   (size_t)(kernel * channels) * sizeof *gw);
}

#else /* a processor without such products: nothing below is ever called */

int slimfront_has_weight_gradient(void)
{
    return 0;
}

void slimfront_weight_gradient_room(void) {}

void slimfront_weight_gradient(void) {}

#endif
