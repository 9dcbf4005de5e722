/* Gradients of a depthwise convolution of a square odd kernel, padded by half of it, for tensors whose channels lie
   innermost. models/convolution.py calls it.

   An image is copied to floats with its margin, its channels filled up to whole vectors. The gradient of the input is a
   convolution again, with the kernel turned round: of the output's gradient, with zeros between its positions where the
   stride is above 1. So every number of it is a sum of kernel x kernel products of vectors.

   The gradient of the weight is summed up slice by slice of the batch, so that it does not depend on the number of
   threads. */

#include "lanes.h"
#include "storage.h"

#define SLICES 16

typedef struct {
    long images, channels, height, width, kernel, stride;
    long lanes, wide, out_height, out_width; /* lanes: channels of whole vectors; wide: width with its margin */
    long padded, plain;                      /* numbers of an image with its margin, and without, both of `lanes` */
    int half;
} layer;

static layer layer_of(long images, long channels, long height, long width, long kernel, long stride, int half)
{
    layer l = {images, channels, height, width, kernel, stride, .half = half};
    l.lanes = filled(channels);
    l.wide = width + kernel - 1;
    l.out_height = (height + stride - 1) / stride;
    l.out_width = (width + stride - 1) / stride;
    l.padded = (height + kernel - 1) * l.wide * l.lanes;
    l.plain = height * width * l.lanes;
    return l;
}

/* One image of x to the middle of `room`, its positions `spacing` apart; everything between stays as it was: zero. */
static void widen(const layer *l, float *room, const void *x, long image, long height, long width, long spacing)
{
    long margin = l->kernel / 2, from = image * height * width * l->channels;
    for (long row = 0; row < height; row++)
        for (long column = 0; column < width; column++, from += l->channels) {
            float *to = room + ((row * spacing + margin) * l->wide + column * spacing + margin) * l->lanes;
            if (l->half)
                for (long c = 0; c < l->channels; c++)
                    to[c] = load(x, from + c, 1);
            else
                memcpy(to, (const float *)x + from, (size_t)l->channels * sizeof *to);
        }
}

/* The other way: from `room`, without margin, to one image of y. */
static void narrow(const layer *l, void *y, const float *room, long image, long positions)
{
    long to = image * positions * l->channels;
    for (long position = 0; position < positions; position++, room += l->lanes, to += l->channels)
        if (l->half)
            for (long c = 0; c < l->channels; c++)
                store(y, to + c, room[c], 1);
        else
            memcpy((float *)y + to, room, (size_t)l->channels * sizeof *room);
}

/* weight (channels x taps) to taps x lanes, in the opposite order of taps. */
static void turn(const layer *l, float *taps, const float *weight)
{
    long count = l->kernel * l->kernel;
    memset(taps, 0, (size_t)(count * l->lanes) * sizeof *taps);
    for (long c = 0; c < l->channels; c++)
        for (long tap = 0; tap < count; tap++)
            taps[(count - 1 - tap) * l->lanes + c] = weight[c * count + tap];
}

/* Convolves an image with its margin to `out` (height x width x lanes), at stride 1. K is the kernel, a constant, so
   that its taps stay in registers. */
INLINE void convolve(const layer *l, const float *padded, const float *taps, float *out, const int K)
{
    const long lanes = l->lanes, line = l->wide * lanes;
    for (long c = 0; c < lanes; c += LANES) {
        vector tap[25];
#pragma GCC unroll 25
        for (int i = 0; i < K * K; i++)
            tap[i] = *(const vector *)(taps + i * lanes + c);
        for (long row = 0; row < l->height; row++) {
            const float *corner = padded + row * line + c;
            float *to = out + row * l->width * lanes + c;
            for (long column = 0; column < l->width; column++, corner += lanes, to += lanes) {
                vector sum = {0};
#pragma GCC unroll 5
                for (int i = 0; i < K; i++)
#pragma GCC unroll 5
                    for (int j = 0; j < K; j++)
                        sum += tap[i * K + j] * *(const vector *)(corner + i * line + j * lanes);
                *(vector *)to = sum;
            }
        }
    }
}

static void convolve_any(const layer *l, const float *padded, const float *taps, float *out)
{
    if (l->kernel == 1)
        convolve(l, padded, taps, out, 1);
    else if (l->kernel == 3)
        convolve(l, padded, taps, out, 3);
    else
        convolve(l, padded, taps, out, 5);
}

/* Adds one image's gradient of the weight to `sums` (taps x lanes). g lies with a margin, its positions a stride
   apart. */
INLINE void correlate(const layer *l, const float *padded, const float *g, float *sums, const int K)
{
    const long lanes = l->lanes, line = l->wide * lanes, step = l->stride * lanes;
    for (long c = 0; c < lanes; c += LANES) {
        vector sum[25];
#pragma GCC unroll 25
        for (int i = 0; i < K * K; i++)
            sum[i] = *(const vector *)(sums + i * lanes + c);
        for (long row = 0; row < l->out_height; row++) {
            const float *corner = padded + row * l->stride * line + c;
            const float *gradient = g + (row * l->stride + K / 2) * line + K / 2 * lanes + c;
            for (long column = 0; column < l->out_width; column++, corner += step, gradient += step)
#pragma GCC unroll 5
                for (int i = 0; i < K; i++)
#pragma GCC unroll 5
                    for (int j = 0; j < K; j++)
                        sum[i * K + j] += *(const vector *)gradient * *(const vector *)(corner + i * line + j * lanes);
        }
#pragma GCC unroll 25
        for (int i = 0; i < K * K; i++)
            *(vector *)(sums + i * lanes + c) = sum[i];
    }
}

static void correlate_any(const layer *l, const float *padded, const float *g, float *sums)
{
    if (l->kernel == 1)
        correlate(l, padded, g, sums, 1);
    else if (l->kernel == 3)
        correlate(l, padded, g, sums, 3);
    else
        correlate(l, padded, g, sums, 5);
}

/* Numbers of `room` that the function below needs. */
long slimfront_depthwise_room(long images, long channels, long height, long width, long kernel, long stride,
                              int threads)
{
    layer l = layer_of(images, channels, height, width, kernel, stride, 0);
    return l.kernel * l.kernel * l.lanes * (1 + SLICES) + threads * (2 * l.padded + l.plain);
}

/* Gradients of x (or none, if gx is null) and of the weight, from g, that of y. */
void slimfront_depthwise_backward(const void *g, const void *x, const float *weight, void *gx, float *weight_gradient,
                                  long images, long channels, long height, long width, long kernel, long stride,
                                  int half, float *room, int threads)
{
    layer l = layer_of(images, channels, height, width, kernel, stride, half);
    long count = kernel * kernel;
    float *taps = room, *sums = taps + count * l.lanes, *rooms = sums + SLICES * count * l.lanes;
    turn(&l, taps, weight);
    memset(sums, 0, (size_t)(SLICES * count * l.lanes) * sizeof *sums);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long part = 0; part < threads; part++) {
        float *padded = rooms + part * (2 * l.padded + l.plain), *gradient = padded + l.padded;
        float *out = gradient + l.padded;
        memset(padded, 0, (size_t)(2 * l.padded) * sizeof *padded);
        for (long slice = part; slice < SLICES; slice += threads)
            for (long image = slice; image < images; image += SLICES) {
                widen(&l, gradient, g, image, l.out_height, l.out_width, stride);
                widen(&l, padded, x, image, height, width, 1);
                correlate_any(&l, padded, gradient, sums + slice * count * l.lanes);
                if (gx) {
                    convolve_any(&l, gradient, taps, out);
                    narrow(&l, gx, out, image, height * width);
                }
            }
    }
    for (long c = 0; c < channels; c++)
        for (long tap = 0; tap < count; tap++) {
            double total = 0;
            for (long slice = 0; slice < SLICES; slice++)
                total += sums[(slice * count + tap) * l.lanes + c];
            weight_gradient[c * count + tap] = (float)total;
        }
}
