/* Batch norm, the sum with a shortcut and ReLU in two passes over memory forward and two backward, for tensors whose
   channels lie innermost. models/norm_act.py calls it.

   With m the mean, r = 1 / sqrt(variance + eps), w and b the norm's weight and bias of a channel, g the gradient of the
   output, zero where ReLU cut it off, and n the number of rows (images times positions):

       y  = relu((x - m) r w + b + shortcut)
       gb = sum g        gw = r sum g (x - m)        gx = r w (g - gb / n - (x - m) r gw / n)

   Rows of few channels are joined to wide ones, so that vectors are full whatever the number of channels. Sums are
   taken slice by slice and added in order, so that they do not depend on the number of threads. */

#include <math.h>

#include "storage.h"

#define WIDTH 512 /* numbers of a wide row, at least: its floats fit the first cache several times */
#define FLUSH 128 /* rows that are summed up in float before the sum goes on in double */
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    long rows, channels, width, slices; /* width: of a wide row, in numbers */
    int threads;
} shape;

static shape shape_of(long rows, long channels, long slices, int threads)
{
    long joined = (WIDTH + channels - 1) / channels;
    return (shape){rows, channels, joined * channels, slices, threads};
}

/* First number of a slice: whole wide rows, shared out evenly. */
static long slice_start(const shape *s, long slice)
{
    long total = s->rows * s->channels, wide = (total + s->width - 1) / s->width;
    long start = wide * slice / s->slices * s->width;
    return start < total ? start : total;
}

static inline long least(long a, long b)
{
    return a < b ? a : b;
}

/* A number a channel, repeated for every channel of a wide row. */
static void spread(float *wide, const float *values, const shape *s)
{
    for (long start = 0; start < s->width; start += s->channels)
        memcpy(wide + start, values, (size_t)s->channels * sizeof *wide);
}

/* Adds the sums of a wide row's places to those of their channels, and clears them. */
static void flush(double *sums, float *wide, const shape *s)
{
    for (long start = 0; start < s->width; start += s->channels)
        for (long c = 0; c < s->channels; c++)
            sums[c] += wide[start + c];
    memset(wide, 0, (size_t)s->width * sizeof *wide);
}

/* The sums of all slices (slices x 2 x channels), in order; the result comes first. */
static void add_slices(const shape *s, double *sums)
{
    for (long slice = 1; slice < s->slices; slice++)
        for (long i = 0; i < 2 * s->channels; i++)
            sums[i] += sums[slice * 2 * s->channels + i];
}

/* Adds to sums (2 x channels) x - pivot and its square. The pivot, any number near the mean, keeps the digits. */
INLINE void moments(const shape *s, const void *x, int half, const float *pivot, long slice, double *sums)
{
    float sum[s->width], square[s->width], centre[s->width];
    long end = slice_start(s, slice + 1), done = 0;
    memset(sum, 0, sizeof sum);
    memset(square, 0, sizeof square);
    spread(centre, pivot, s);
    for (long start = slice_start(s, slice); start < end; start += s->width) {
        long n = least(s->width, end - start);
#pragma GCC ivdep
        for (long i = 0; i < n; i++) {
            float d = load(x, start + i, half) - centre[i];
            sum[i] += d;
            square[i] += d * d;
        }
        if (++done % FLUSH == 0 || start + n == end) {
            flush(sums, sum, s);
            flush(sums + s->channels, square, s);
        }
    }
}

/* scale is w r, so that this is (x - m) r w + b. */
static inline float normalised(float x, float mean, float scale, float bias)
{
    return (x - mean) * scale + bias;
}

INLINE void write_slice(const shape *s, const void *x, const void *shortcut, void *y, int half, const float *mean,
                        const float *scale, const float *bias, int relu, long slice)
{
    float m[s->width], w[s->width], b[s->width];
    long end = slice_start(s, slice + 1);
    spread(m, mean, s);
    spread(w, scale, s);
    spread(b, bias, s);
    for (long start = slice_start(s, slice); start < end; start += s->width) {
        long n = least(s->width, end - start);
#pragma GCC ivdep
        for (long i = 0; i < n; i++) {
            float out = normalised(load(x, start + i, half), m[i], w[i], b[i]);
            if (shortcut)
                out += load(shortcut, start + i, half);
            store(y, start + i, relu && out < 0.0f ? 0.0f : out, half); /* a NaN stays one */
        }
    }
}

/* x, shortcut (or null) and y are rows x channels. `mean` and `inverse` (channels), which is r, are kept for the way
   back, the running statistics move by `momentum`. `sums` is room for slices x 2 x channels numbers, all 0. */
void slimfront_norm_act(const void *x, const void *shortcut, void *y, long rows, long channels, int half,
                        const float *weight, const float *bias, int relu, float eps, float momentum, float *mean,
                        float *inverse, float *running_mean, float *running_variance, double *sums, long slices,
                        int threads)
{
    shape s = shape_of(rows, channels, slices, threads);
    float pivot[channels], scale[channels];
    for (long c = 0; c < channels; c++)
        pivot[c] = load(x, c, half);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long slice = 0; slice < slices; slice++)
        if (half)
            moments(&s, x, 1, pivot, slice, sums + slice * 2 * channels);
        else
            moments(&s, x, 0, pivot, slice, sums + slice * 2 * channels);
    add_slices(&s, sums);
    for (long c = 0; c < channels; c++) {
        double offset = sums[c] / (double)rows, variance = sums[channels + c] / (double)rows - offset * offset;
        variance = variance < 0 ? 0 : variance;
        mean[c] = (float)(pivot[c] + offset);
        inverse[c] = (float)(1 / sqrt(variance + eps));
        scale[c] = weight[c] * inverse[c];
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        float unbiased = (float)(variance * (double)rows / (double)(rows - 1));
        running_variance[c] += momentum * (unbiased - running_variance[c]);
    }
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long slice = 0; slice < slices; slice++)
        if (half && shortcut)
            write_slice(&s, x, shortcut, y, 1, mean, scale, bias, relu, slice);
        else if (half)
            write_slice(&s, x, NULL, y, 1, mean, scale, bias, relu, slice);
        else
            write_slice(&s, x, shortcut, y, 0, mean, scale, bias, relu, slice);
}

/* g where ReLU let y pass, else 0: y is given, or it is what the norm makes of x. */
INLINE float let_through(float g, const void *y, long i, int half, float own)
{
    return (y ? load(y, i, half) : own) > 0.0f ? g : 0.0f;
}

/* Adds to sums (2 x channels) g and g (x - m), g being zero where ReLU cut off. Writes that g to `passed`, if given. */
INLINE void gradient_sums(const shape *s, const void *g, const void *x, const void *y, void *passed, int half,
                          const float *mean, const float *scale, const float *bias, int relu, long slice, double *sums)
{
    float m[s->width], w[s->width], b[s->width], sum[s->width], product[s->width];
    long end = slice_start(s, slice + 1), done = 0;
    memset(sum, 0, sizeof sum);
    memset(product, 0, sizeof product);
    spread(m, mean, s);
    spread(w, scale, s);
    spread(b, bias, s);
    for (long start = slice_start(s, slice); start < end; start += s->width) {
        long n = least(s->width, end - start);
#pragma GCC ivdep
        for (long i = 0; i < n; i++) {
            float v = load(x, start + i, half), left = load(g, start + i, half);
            if (relu)
                left = let_through(left, y, start + i, half, normalised(v, m[i], w[i], b[i]));
            if (passed)
                store(passed, start + i, left, half);
            sum[i] += left;
            product[i] += left * (v - m[i]);
        }
        if (++done % FLUSH == 0 || start + n == end) {
            flush(sums, sum, s);
            flush(sums + s->channels, product, s);
        }
    }
}

/* gx = scale (g - level - (x - m) slope). */
INLINE void write_gradient(const shape *s, const void *g, const void *x, void *gx, int half, const float *mean,
                           const float *scale, const float *bias, const float *level, const float *slope, int relu,
                           long slice)
{
    float m[s->width], w[s->width], b[s->width], l[s->width], k[s->width];
    long end = slice_start(s, slice + 1);
    spread(m, mean, s);
    spread(w, scale, s);
    spread(b, bias, s);
    spread(l, level, s);
    spread(k, slope, s);
    for (long start = slice_start(s, slice); start < end; start += s->width) {
        long n = least(s->width, end - start);
#pragma GCC ivdep
        for (long i = 0; i < n; i++) {
            float v = load(x, start + i, half), left = load(g, start + i, half);
            if (relu)
                left = let_through(left, NULL, 0, half, normalised(v, m[i], w[i], b[i]));
            store(gx, start + i, w[i] * (left - l[i] - (v - m[i]) * k[i]), half);
        }
    }
}

/* Gradients of x, weight and bias from that of y. With a shortcut behind which ReLU stands, y says where it cut off,
   and `passed` takes the shortcut's gradient; otherwise both are null. */
void slimfront_norm_act_backward(const void *g, const void *x, const void *y, void *passed, void *gx, long rows,
                                 long channels, int half, const float *weight, const float *bias, int relu,
                                 const float *mean, const float *inverse, float *weight_gradient, float *bias_gradient,
                                 double *sums, long slices, int threads)
{
    shape s = shape_of(rows, channels, slices, threads);
    float scale[channels], level[channels], slope[channels];
    for (long c = 0; c < channels; c++)
        scale[c] = weight[c] * inverse[c];
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long slice = 0; slice < slices; slice++) {
        double *own = sums + slice * 2 * channels;
        if (half && passed)
            gradient_sums(&s, g, x, y, passed, 1, mean, scale, bias, 1, slice, own);
        else if (half && relu)
            gradient_sums(&s, g, x, NULL, NULL, 1, mean, scale, bias, 1, slice, own);
        else if (half)
            gradient_sums(&s, g, x, NULL, NULL, 1, mean, scale, bias, 0, slice, own);
        else
            gradient_sums(&s, g, x, y, passed, 0, mean, scale, bias, relu, slice, own);
    }
    add_slices(&s, sums);
    for (long c = 0; c < channels; c++) {
        double product = sums[channels + c] * inverse[c];
        bias_gradient[c] = (float)sums[c];
        weight_gradient[c] = (float)product;
        level[c] = (float)(sums[c] / (double)rows);
        slope[c] = (float)(product * inverse[c] / (double)rows);
    }
    const void *left = passed ? passed : g; /* cut off already, or yet to be */
    int cuts = relu && !passed;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long slice = 0; slice < slices; slice++)
        if (half && cuts)
            write_gradient(&s, left, x, gx, 1, mean, scale, bias, level, slope, 1, slice);
        else if (half)
            write_gradient(&s, left, x, gx, 1, mean, scale, bias, level, slope, 0, slice);
        else
            write_gradient(&s, left, x, gx, 0, mean, scale, bias, level, slope, cuts, slice);
}
