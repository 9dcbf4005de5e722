/* 3x3 convolutions with a stride of 1 in float32, for tensors whose channels lie innermost: minimal filtering
   F(4x4, 3x3) (Winograd 1980; Lavin and Gray, arXiv:1509.09308), which multiplies a quarter as often as the plain sum,
   whole tiles given. models/convolution.py calls it.

   With Y a tile of 4x4 outputs, D the 6x6 inputs that it is computed from, W a kernel of 3x3, gY the gradient of Y, '
   for transposed and . for a product position by position:

       Y  = sum over channels of  A' [ (G W G') . (B' D B) ] A
       gW = sum over tiles of     G' [ (A gY A') . (B' D B) ] G

   B' D B is the input transform, G W G' the weight transform, A' [...] A the output transform. What is in brackets is a
   product of matrices for each of 36 points: tiles x channels times channels x outputs forward, channels x tiles times
   tiles x outputs for the weight. The gradient of the input is the first formula with gY for D, the kernel turned round
   and outputs for channels.

   Errors grow with the channels; with 512 they are about 2e-5 of the largest number, six to ten times a plain sum's.
   An infinity makes NaNs of its whole tile. gW is summed slice by slice of the batch, so that it does not depend on the
   number of threads. */

#include <string.h>

#include "lanes.h"

#define TILE 4
#define WINDOW 6
#define POINTS 36
#define ROWS 6     /* tiles, and */
#define VECTORS 2  /* vectors of outputs, whose sums stay in registers */
#define GROUP 48   /* tiles that are worked on at a time, a multiple of ROWS: of up to 64 channels they fit L2 */
#define AHEAD 2    /* tiles from the one that is worked on to the one that is prefetched */
#define SLICES 8   /* at most */
#define FEWEST 128 /* tiles of a slice, about */
#define LARGEST (1L << 22) /* numbers of all slices' sums, if there is more than one */

_Static_assert(ROWS == 6 && LANES % 2 == 0 && GROUP % ROWS == 0, "multiply_up_all knows the remainders 2 and 4");

typedef struct {
    long height, width, down, across, tiles; /* of an image, tiles from top to bottom and from left to right; of all */
} grid;

static grid grid_of(long images, long height, long width)
{
    grid g = {height, width, (height + TILE - 1) / TILE, (width + TILE - 1) / TILE, 0};
    g.tiles = images * g.down * g.across;
    return g;
}

/* Numbers from one point to the next: one line of the cache more than needed, or all would fall on few of its sets. */
static inline long apart(long wide)
{
    return GROUP * wide + 16;
}

INLINE vector load(const float *from, long count)
{
    if (count >= LANES)
        return *(const vector *)from;
    vector v = {0};
    memcpy(&v, from, (size_t)count * sizeof *from);
    return v;
}

INLINE void store(float *to, vector v, long count)
{
    if (count >= LANES)
        *(vector *)to = v;
    else
        memcpy(to, &v, (size_t)count * sizeof *to);
}

/* B' d: of the input transform. */
INLINE void input_points(vector *o, long step, const vector *d)
{
    vector a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
    o[0] = 4 * d[0] - 5 * d[2] + d[4];
    o[step] = a + b;
    o[2 * step] = a - b;
    o[3 * step] = c + e;
    o[4 * step] = c - e;
    o[5 * step] = 4 * d[1] - 5 * d[3] + d[5];
}

/* A' m: of the output transform. */
INLINE void outputs_of(vector *o, long step, const vector *m)
{
    vector s = m[1] + m[2], d = m[1] - m[2];
    vector t = m[3] + m[4], e = m[3] - m[4];
    o[0] = m[0] + s + t;
    o[step] = d + 2 * e;
    o[2 * step] = s + 4 * t;
    o[3 * step] = d + 8 * e + m[5];
}

/* A g: of the gradient's transform. */
INLINE void gradient_points(vector *o, long step, const vector *g)
{
    vector s = g[0] + g[2], d = g[1] + g[3], t = g[0] + 4 * g[2], e = 2 * g[1] + 8 * g[3];
    o[0] = g[0];
    o[step] = s + d;
    o[2 * step] = s - d;
    o[3 * step] = t + e;
    o[4 * step] = t - e;
    o[5 * step] = g[3];
}

/* G w: of the weight transform. */
INLINE void weight_points(vector *o, long step, vector w0, vector w1, vector w2)
{
    vector s = (w0 + w2) * (-1.0f / 6), d = w1 * (1.0f / 6), t = w0 * (1.0f / 24) + w2 * (1.0f / 6);
    o[0] = w0 * 0.25f;
    o[step] = s - d;
    o[2 * step] = s + d;
    o[3 * step] = t + d * 0.5f;
    o[4 * step] = t - d * 0.5f;
    o[5 * step] = w2;
}

/* G' u: of the weight's gradient. */
INLINE void weight_of(vector *o, long step, const vector *u, long from)
{
    vector s = (u[from] + u[2 * from]) * (1.0f / 6), t = u[3 * from] + u[4 * from], e = u[3 * from] - u[4 * from];
    o[0] = u[0] * 0.25f - s + t * (1.0f / 24);
    o[step] = (u[2 * from] - u[from]) * (1.0f / 6) + e * (1.0f / 12);
    o[2 * step] = t * (1.0f / 6) - s + u[5 * from];
}

/* Where a tile's positions from (top, left) on lie, size x size of them; those outside of the image are in `zeros`. */
INLINE void locate(const grid *g, const float *x, long channels, const float *zeros, long tile, int margin, int size,
                 const float **at)
{
    long image = tile / (g->down * g->across), place = tile % (g->down * g->across);
    long top = place / g->across * TILE - margin, left = place % g->across * TILE - margin;
    for (int i = 0; i < size; i++) {
        const float *line = x + ((image * g->height + top + i) * g->width + left) * channels;
        int inside = (unsigned long)(top + i) < (unsigned long)g->height;
        for (int j = 0; j < size; j++)
            at[i * size + j] = inside && (unsigned long)(left + j) < (unsigned long)g->width ? line + j * channels
                                                                                              : zeros;
    }
}

/* Prefetches the tile's last TILE columns, `ahead` numbers further on; beyond the image that does no harm. */
INLINE void prefetch(const float **at, int size, long ahead)
{
#pragma GCC unroll 6
    for (int i = 0; i < size; i++)
#pragma GCC unroll 4
        for (int j = size - TILE; j < size; j++)
            __builtin_prefetch(at[i * size + j] + ahead);
}

INLINE void transform_input(const float **at, long channels, long c, long left, float *to, long point)
{
    vector d[WINDOW * WINDOW], v[WINDOW];
    prefetch(at, WINDOW, AHEAD * TILE * channels + c);
#pragma GCC unroll 6
    for (int j = 0; j < WINDOW; j++) {
        vector column[WINDOW];
#pragma GCC unroll 6
        for (int i = 0; i < WINDOW; i++)
            column[i] = load(at[i * WINDOW + j] + c, left);
        input_points(d + j, WINDOW, column);
    }
#pragma GCC unroll 6
    for (int i = 0; i < WINDOW; i++) {
        input_points(v, 1, d + i * WINDOW);
#pragma GCC unroll 6
        for (int j = 0; j < WINDOW; j++)
            *(vector *)(to + (i * WINDOW + j) * point + c) = v[j];
    }
}

/* B' D B of `count` tiles: points x GROUP x filled channels. */
static void transform_inputs(const grid *g, const float *x, long channels, const float *zeros, long first, long count,
                             float *v)
{
    long wide = filled(channels), point = apart(wide);
    const float *at[WINDOW * WINDOW];
    for (long t = 0; t < count; t++, v += wide) {
        locate(g, x, channels, zeros, first + t, 1, WINDOW, at);
        long c = 0;
        for (; c + LANES <= channels; c += LANES)
            transform_input(at, channels, c, LANES, v, point);
        if (c < channels)
            transform_input(at, channels, c, channels - c, v, point);
    }
}

INLINE void transform_gradient(const float **at, long outputs, long c, long left, float *to, long point)
{
    vector d[WINDOW * TILE], z[WINDOW];
    prefetch(at, TILE, AHEAD * TILE * outputs + c);
#pragma GCC unroll 4
    for (int j = 0; j < TILE; j++) {
        vector column[TILE];
#pragma GCC unroll 4
        for (int i = 0; i < TILE; i++)
            column[i] = load(at[i * TILE + j] + c, left);
        gradient_points(d + j, TILE, column);
    }
#pragma GCC unroll 6
    for (int i = 0; i < WINDOW; i++) {
        gradient_points(z, 1, d + i * TILE);
#pragma GCC unroll 6
        for (int j = 0; j < WINDOW; j++)
            *(vector *)(to + (i * WINDOW + j) * point + c) = z[j];
    }
}

/* A gY A' of `count` tiles: points x GROUP x filled outputs. */
static void transform_gradients(const grid *g, const float *y, long outputs, const float *zeros, long first,
                                long count, float *z)
{
    long wide = filled(outputs), point = apart(wide);
    const float *at[TILE * TILE];
    for (long t = 0; t < count; t++, z += wide) {
        locate(g, y, outputs, zeros, first + t, 0, TILE, at);
        long c = 0;
        for (; c + LANES <= outputs; c += LANES)
            transform_gradient(at, outputs, c, LANES, z, point);
        if (c < outputs)
            transform_gradient(at, outputs, c, outputs - c, z, point);
    }
}

/* A' M A of a tile, M: points x GROUP x wide, to y from channel c on, `left` of them at most a vector. */
INLINE void transform_output(const grid *g, const float *m, long wide, long tile, float *y, long outputs, long c,
                             long left)
{
    vector d[TILE * WINDOW], o[TILE];
    long image = tile / (g->down * g->across), place = tile % (g->down * g->across);
    long top = place / g->across * TILE, first = place % g->across * TILE;
    float *to = y + ((image * g->height + top) * g->width + first) * outputs + c;
#pragma GCC unroll 4
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int j = 0; j < TILE; j++) /* the next tile's, to write */
            __builtin_prefetch(to + (i * g->width + TILE + j) * outputs, 1);
#pragma GCC unroll 6
    for (int j = 0; j < WINDOW; j++) {
        vector column[WINDOW];
#pragma GCC unroll 6
        for (int i = 0; i < WINDOW; i++)
            column[i] = *(const vector *)(m + (i * WINDOW + j) * apart(wide));
        outputs_of(d + j, WINDOW, column);
    }
#pragma GCC unroll 4
    for (int i = 0; i < TILE; i++) {
        if (top + i >= g->height)
            break;
        outputs_of(o, 1, d + i * WINDOW);
#pragma GCC unroll 4
        for (int j = 0; j < TILE; j++)
            if (first + j < g->width)
                store(to + (i * g->width + j) * outputs, o[j], left);
    }
}

/* m (GROUP x N vectors) = v (rows of `wide`) u (depth x N vectors), ROWS rows of it. */
INLINE void multiply(const float *v, long wide, const float *u, float *m, long depth, const int N)
{
    vector sum[ROWS * VECTORS] = {0};
    for (long c = 0; c < depth; c++, u += N * LANES) {
        vector b[VECTORS];
#pragma GCC unroll 2
        for (int n = 0; n < N; n++)
            b[n] = *(const vector *)(u + n * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int n = 0; n < N; n++)
                sum[r * N + n] += b[n] * v[r * wide + c];
    }
#pragma GCC unroll 12
    for (int n = 0; n < ROWS * N; n++)
        *(vector *)(m + n * LANES) = sum[n];
}

INLINE void multiply_points(const float *v, const float *u, float *m, long depth, long count, const int N)
{
    long wide = filled(depth);
    for (long point = 0; point < POINTS; point++, u += depth * N * LANES)
        for (long t = 0; t < count; t += ROWS)
            multiply(v + point * apart(wide) + t * wide, wide, u, m + point * apart(N * LANES) + t * N * LANES, depth,
                     N);
}

/* G W G', W (outputs x 3 x 3 x channels): for every VECTORS vectors of columns points x depth x columns. Columns are
   outputs and depth channels, or the other way round, then the kernel is `turned`. */
static void transform_weight(const float *w, long channels, long outputs, int turned, float *u)
{
    long depth = turned ? outputs : channels, columns = filled(turned ? channels : outputs);
    if (!turned && columns != outputs) /* turned, whole vectors are written */
        memset(u, 0, (size_t)(POINTS * depth * columns) * sizeof *u);
    for (long k = 0; k < outputs; k++)
        for (long c = 0; c < channels; c += LANES) {
            vector d[WINDOW * 3], o[WINDOW];
            long left = channels - c < LANES ? channels - c : LANES;
            const float *from = w + k * 9 * channels + c;
            for (int j = 0; j < 3; j++) {
                vector a = load(from + j * channels, left), b = load(from + (3 + j) * channels, left);
                vector e = load(from + (6 + j) * channels, left);
                if (turned)
                    weight_points(d + 2 - j, 3, e, b, a);
                else
                    weight_points(d + j, 3, a, b, e);
            }
            for (int i = 0; i < WINDOW; i++) {
                weight_points(o, 1, d[i * 3], d[i * 3 + 1], d[i * 3 + 2]);
                for (int j = 0; j < WINDOW; j++) {
                    long point = i * WINDOW + j, column = turned ? c : k;
                    long block = column / (VECTORS * LANES) * (VECTORS * LANES);
                    long size = columns - block < VECTORS * LANES ? columns - block : VECTORS * LANES;
                    float *to = u + (block * POINTS + point * size) * depth + column - block;
                    if (turned)
                        *(vector *)(to + k * size) = o[j];
                    else
                        for (long n = 0; n < left; n++)
                            to[(c + n) * size] = o[j][n];
                }
            }
        }
}

/* Numbers of `room` that the function below needs. */
long slimfront_winograd_room(long channels, long outputs, int turned, int threads)
{
    long depth = turned ? outputs : channels, columns = filled(turned ? channels : outputs);
    long of_thread = POINTS * (apart(filled(depth)) + apart(VECTORS * LANES));
    return POINTS * depth * columns + filled(depth) + threads * of_thread;
}

/* Whether the kernels below were timed on processors of this kind, and are faster there. */
int slimfront_has_winograd(void)
{
#ifdef __AVX2__
    return 1;
#else
    return 0;
#endif
}

/* x (images x height x width x channels), w (outputs x 3 x 3 x channels) to y (images x height x width x outputs);
   turned: of the gradient of y, which is given as x, to the gradient of x. */
void slimfront_winograd(const float *x, const float *w, float *y, long images, long channels, long outputs,
                        long height, long width, int turned, float *room, int threads)
{
    grid g = grid_of(images, height, width);
    long depth = turned ? outputs : channels, real = turned ? channels : outputs, columns = filled(real);
    float *u = room, *zeros = u + POINTS * depth * columns, *rest = zeros + filled(depth);
    transform_weight(w, channels, outputs, turned, u);
    memset(zeros, 0, (size_t)filled(depth) * sizeof *zeros);
    long groups = (g.tiles + GROUP - 1) / GROUP;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long part = 0; part < threads; part++) {
        float *v = rest + part * POINTS * (apart(filled(depth)) + apart(VECTORS * LANES));
        float *m = v + POINTS * apart(filled(depth));
        for (long group = groups * part / threads; group < groups * (part + 1) / threads; group++) {
            long first = group * GROUP, count = g.tiles - first < GROUP ? g.tiles - first : GROUP;
            transform_inputs(&g, x, depth, zeros, first, count, v);
            for (long block = 0; block < columns; block += VECTORS * LANES) {
                long vectors = columns - block < VECTORS * LANES ? 1 : VECTORS;
                if (vectors == VECTORS)
                    multiply_points(v, u + block * POINTS * depth, m, depth, count, VECTORS);
                else
                    multiply_points(v, u + block * POINTS * depth, m, depth, count, 1);
                for (long t = 0; t < count; t++)
                    for (long n = 0; n < vectors; n++) {
                        long c = block + n * LANES;
                        const float *from = m + (t * vectors + n) * LANES;
                        if (real - c >= LANES)
                            transform_output(&g, from, vectors * LANES, first + t, y, real, c, LANES);
                        else
                            transform_output(&g, from, vectors * LANES, first + t, y, real, c, real - c);
                    }
            }
        }
    }
}

/* sums (R x columns) += v' z over `count` tiles, N vectors of it. */
INLINE void multiply_up(const float *v, long v_wide, const float *z, long z_wide, float *sums, long count, const int R,
                        const int N)
{
    vector sum[ROWS * VECTORS];
#pragma GCC unroll 12
    for (int n = 0; n < R * N; n++)
        sum[n] = *(const vector *)(sums + n / N * z_wide + n % N * LANES);
    for (long t = 0; t < count; t++, v += v_wide, z += z_wide) {
        vector b[VECTORS];
#pragma GCC unroll 2
        for (int n = 0; n < N; n++)
            b[n] = *(const vector *)(z + n * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int n = 0; n < N; n++)
                sum[r * N + n] += b[n] * v[r];
    }
#pragma GCC unroll 12
    for (int n = 0; n < R * N; n++)
        *(vector *)(sums + n / N * z_wide + n % N * LANES) = sum[n];
}

INLINE void multiply_up_all(const float *v, long wide, const float *z, long out, float *sums, long count, const int N)
{
    long c = 0;
    for (; c + ROWS <= wide; c += ROWS)
        multiply_up(v + c, wide, z, out, sums + c * out, count, ROWS, N);
    if (wide - c == 4)
        multiply_up(v + c, wide, z, out, sums + c * out, count, 4, N);
    else if (wide - c == 2)
        multiply_up(v + c, wide, z, out, sums + c * out, count, 2, N);
}

/* Slices of the batch, whose sums take `size` numbers each. */
static long slices_of(const grid *g, long size)
{
    long slices = g->tiles / FEWEST, room = LARGEST / size;
    slices = slices > SLICES ? SLICES : slices;
    slices = slices > room ? room : slices;
    return slices < 1 ? 1 : slices;
}

/* Numbers of `room` that the function below needs. */
long slimfront_winograd_gradient_room(long images, long channels, long outputs, long height, long width, int threads)
{
    grid g = grid_of(images, height, width);
    long wide = filled(channels), out = filled(outputs), size = POINTS * wide * out;
    return slices_of(&g, size) * size + wide + out + threads * POINTS * (apart(wide) + apart(out));
}

/* x (images x height x width x channels), gradient of y (images x height x width x outputs) to the gradient gw
   (outputs x 3 x 3 x channels). */
void slimfront_winograd_gradient(const float *gy, const float *x, float *gw, long images, long channels, long outputs,
                                 long height, long width, float *room, int threads)
{
    grid g = grid_of(images, height, width);
    long wide = filled(channels), out = filled(outputs), size = POINTS * wide * out, slices = slices_of(&g, size);
    float *sums = room, *zeros = sums + slices * size, *rest = zeros + wide + out;
    memset(sums, 0, (size_t)(slices * size + wide + out) * sizeof *sums);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long part = 0; part < threads; part++) {
        float *v = rest + part * POINTS * (apart(wide) + apart(out)), *z = v + POINTS * apart(wide);
        for (long slice = part; slice < slices; slice += threads) {
            long end = g.tiles * (slice + 1) / slices;
            for (long first = g.tiles * slice / slices; first < end; first += GROUP) {
                long count = end - first < GROUP ? end - first : GROUP;
                transform_inputs(&g, x, channels, zeros, first, count, v);
                transform_gradients(&g, gy, outputs, zeros, first, count, z);
                for (long point = 0; point < POINTS; point++)
                    for (long k = 0; k < out; k += VECTORS * LANES) {
                        const float *from = v + point * apart(wide), *by = z + point * apart(out) + k;
                        float *to = sums + slice * size + point * wide * out + k;
                        if (out - k >= VECTORS * LANES)
                            multiply_up_all(from, wide, by, out, to, count, VECTORS);
                        else
                            multiply_up_all(from, wide, by, out, to, count, 1);
                    }
            }
        }
    }
    for (long slice = 1; slice < slices; slice++)
        for (long n = 0; n < size; n++)
            sums[n] += sums[slice * size + n];
    for (long c = 0; c < channels; c++)
        for (long k = 0; k < outputs; k += LANES) {
            vector u[POINTS], d[3 * WINDOW], o[3];
            for (int point = 0; point < POINTS; point++)
                u[point] = *(const vector *)(sums + (point * wide + c) * out + k);
            for (int j = 0; j < WINDOW; j++)
                weight_of(d + j, WINDOW, u + j, WINDOW);
            for (int i = 0; i < 3; i++) {
                weight_of(o, 1, d + i * WINDOW, 1);
                for (int j = 0; j < 3; j++)
                    for (long n = 0; n < LANES && k + n < outputs; n++)
                        gw[((k + n) * 9 + i * 3 + j) * channels + c] = o[j][n];
            }
        }
}
