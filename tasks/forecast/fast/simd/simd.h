/* Vectors that hold one number of each of LANES windows, and what layers do with them.

   A hidden state of a group of windows is V[steps][width]: every operation of a network is then one on whole vectors, for layers of
   any width, and no sum runs across a vector but the last one of a weight's gradient. A group's gradients go to a place of its own and
   are added up in the groups' order, so that no result depends on the number of threads. */
#ifndef SIMD_H
#define SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

#define WIDEST 128 /* channels of a head at most; native.py has it too */

typedef float V __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t I __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t U __attribute__((vector_size(4 * LANES), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define SHARED static __attribute__((unused))

/* Dropout: what a 16-bit random number below `threshold` meets is 0, the rest is multiplied by `scale`. 0: none. */
typedef struct {
    uint64_t seed;
    int64_t threshold;
    double scale;
} Dropout;

/* The random keys of a group's windows. */
typedef struct {
    U first, second;
    int32_t threshold;
    float scale;
} Masks;

INLINE V all(float x) { return x - (V){0}; }

INLINE V pick(I mask, V a, V b) { return (V)(((I)a & mask) | ((I)b & ~mask)); }

INLINE V larger(V a, V b) { return pick(a > b, a, b); }

INLINE float across(V x) {
    float t[LANES];
    memcpy(t, &x, sizeof t);
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) t[l] += t[l + half];
    return t[0];
}

/* 2**x for x <= 126, to 2e-7 of itself; what is below 2**-126 stays there. */
INLINE V power2(V x) {
    const float round = 12582912.0f; /* 1.5 * 2**23: adding it leaves an integer in the lowest bits */
    x = larger(x, all(-126.0f));
    V t = x + round, f = x - (t - round);
    V p = f * 1.54035304e-4f + 1.33335581e-3f;
    p = p * f + 9.61812911e-3f;
    p = p * f + 5.55041087e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147181e-1f;
    p = p * f + 1.0f;
    return (V)((I)p + ((I)t << 23)); /* the constant's own bits are shifted out */
}

INLINE V root_inverse(V x) {
    V y;
    for (int l = 0; l < LANES; l++) y[l] = 1.0f / __builtin_sqrtf(x[l]);
    return y;
}

/* The normal distribution's function and density at x, to 1e-7 (Abramowitz and Stegun 1964, 7.1.26). */
INLINE void normal(V x, V *below, V *density) {
    V e = power2(x * x * -0.72134752f);
    V z = (V)((I)x & 0x7fffffff) * 0.70710678f;
    V t = 1.0f / (1.0f + 0.3275911f * z);
    V p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    V tail = 0.5f * p * t * e;
    *below = pick(x > 0.0f, 1.0f - tail, tail);
    *density = e * 0.39894228f;
}

INLINE uint64_t scramble(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

INLINE Masks masks_of(const Dropout *dropout, int64_t group) {
    uint32_t first[LANES], second[LANES];
    const uint64_t seed = scramble(dropout->seed);
    for (int l = 0; l < LANES; l++) {
        const uint64_t key = scramble(seed + (uint64_t)(group * LANES + l));
        first[l] = (uint32_t)key;
        second[l] = (uint32_t)(key >> 32);
    }
    Masks masks = {.threshold = (int32_t)dropout->threshold, .scale = (float)dropout->scale};
    memcpy(&masks.first, first, sizeof first);
    memcpy(&masks.second, second, sizeof second);
    return masks;
}

/* Two 16-bit random numbers a window, by their place: a forward's masks are made again in its backward. */
INLINE U draw(const Masks *masks, uint32_t place) {
    U x = masks->first + place * 0x9e3779b9u;
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15)) + masks->second;
    x = x * 0xd35a2d97u;
    return x ^ (x >> 15);
}

/* What dropout leaves of count vectors, which take the places from `place` on, two each. */
INLINE void drop(const Masks *masks, uint32_t place, V *to, const V *from, int count) {
    const int32_t threshold = masks->threshold;
    const float scale = masks->scale;
    if (!threshold) {
        if (to != from) memcpy(to, from, count * sizeof(V));
        return;
    }
    for (int i = 0; i < count; i += 2) {
        U both = draw(masks, place + i / 2);
        to[i] = (V)((I)(from[i] * scale) & ((I)(both & 0xffffu) >= threshold));
        if (i + 1 < count) to[i + 1] = (V)((I)(from[i + 1] * scale) & ((I)(both >> 16) >= threshold));
    }
}

/* The places that a row of count vectors takes. */
INLINE uint32_t places(int count) { return (uint32_t)(count + 1) / 2; }

/* Calls a function for each group g of what `a` points at, on its threads; failed says whether memory was lacking in one. */
#define FOR_GROUPS(call)                                                                                                              \
    int failed = 0;                                                                                                                   \
    _Pragma("omp parallel for schedule(dynamic, 1) num_threads(a->threads) reduction(| : failed)") for (int64_t g = 0; g < a->groups; \
                                                                                                        g++) failed |= call

INLINE V *scratch(size_t vectors) { return aligned_alloc(64, (vectors * sizeof(V) + 63) / 64 * 64); }

INLINE void tile(V *y, int ys, const V *x, int xs, const float *w, int wo, int wi, const float *b, int in, int add, const int steps,
                 const int outs) {
    V sum[4][4];
    for (int s = 0; s < steps; s++)
        for (int o = 0; o < outs; o++) sum[s][o] = add ? y[s * ys + o] : all(b ? b[o] : 0.0f);
    for (int i = 0; i < in; i++)
        for (int o = 0; o < outs; o++) {
            const float weight = w[o * wo + i * wi];
            for (int s = 0; s < steps; s++) sum[s][o] += weight * x[s * xs + i];
        }
    for (int s = 0; s < steps; s++)
        for (int o = 0; o < outs; o++) y[s * ys + o] = sum[s][o];
}

/* y[s][o] = b[o] + sum over i of w[o * wo + i * wi] x[s][i], or that without b added to y; rows lie ys and xs vectors apart. */
SHARED void linear(V *y, int ys, const V *x, int xs, const float *w, int wo, int wi, const float *b, int out, int in, int steps, int add) {
    int s = 0;
#define TILES(size)                                                                                                                   \
    for (; s + size <= steps; s += size) {                                                                                            \
        int o = 0;                                                                                                                    \
        for (; o + 4 <= out; o += 4)                                                                                                  \
            tile(y + s * ys + o, ys, x + s * xs, xs, w + o * wo, wo, wi, b ? b + o : b, in, add, size, 4);                             \
        for (; o < out; o++) tile(y + s * ys + o, ys, x + s * xs, xs, w + o * wo, wo, wi, b ? b + o : b, in, add, size, 1);            \
    }
    TILES(4)
    TILES(2)
    TILES(1)
#undef TILES
}

INLINE void outer_tile(float *g, int gs, const V *dy, int dys, const V *x, int xs, int steps, const int outs, const int ins) {
    V sum[4][4] = {{{0}}};
    for (int s = 0; s < steps; s++)
        for (int o = 0; o < outs; o++)
            for (int i = 0; i < ins; i++) sum[o][i] += dy[s * dys + o] * x[s * xs + i];
    for (int o = 0; o < outs; o++)
        for (int i = 0; i < ins; i++) g[o * gs + i] = across(sum[o][i]);
}

/* The gradient of a linear layer's weight, g[o][i], and of its bias where there is one, from those of its outputs. */
SHARED void outer(float *g, float *of_bias, const V *dy, int dys, const V *x, int xs, int out, int in, int steps) {
    for (int o = 0; o < out; o += o + 4 <= out ? 4 : 1)
        for (int i = 0; i < in; i += i + 4 <= in ? 4 : 1) {
            float *at = g + o * in + i;
            if (o + 4 <= out && i + 4 <= in)
                outer_tile(at, in, dy + o, dys, x + i, xs, steps, 4, 4);
            else if (o + 4 <= out)
                outer_tile(at, in, dy + o, dys, x + i, xs, steps, 4, 1);
            else if (i + 4 <= in)
                outer_tile(at, in, dy + o, dys, x + i, xs, steps, 1, 4);
            else
                outer_tile(at, in, dy + o, dys, x + i, xs, steps, 1, 1);
        }
    for (int o = 0; of_bias && o < out; o++) {
        V sum = {0};
        for (int s = 0; s < steps; s++) sum += dy[s * dys + o];
        of_bias[o] = across(sum);
    }
}

/* The norm over each step's channels; x becomes the part before weight and bias, share[s] what it was multiplied by. */
SHARED void norm(V *y, V *x, V *share, const float *weight, const float *bias, float eps, int steps, int d) {
    for (int s = 0; s < steps; s++, x += d, y += d) {
        V mean = {0}, square = {0};
        for (int c = 0; c < d; c++) mean += x[c];
        mean *= 1.0f / d;
        for (int c = 0; c < d; c++) {
            x[c] -= mean;
            square += x[c] * x[c];
        }
        share[s] = root_inverse(square * (1.0f / d) + eps);
        for (int c = 0; c < d; c++) {
            x[c] *= share[s];
            y[c] = x[c] * weight[c] + bias[c];
        }
    }
}

/* The gradient of the norm's input, which may be written over dy, and of its weight and bias. */
SHARED void norm_back(V *dx, const V *dy, const V *normed, const V *share, const float *weight, float *of_weight, float *of_bias, int steps,
                      int d) {
    for (int c = 0; c < d; c++) {
        V first = {0}, second = {0};
        for (int s = 0; s < steps; s++) {
            first += dy[s * d + c] * normed[s * d + c];
            second += dy[s * d + c];
        }
        of_weight[c] = across(first);
        of_bias[c] = across(second);
    }
    for (int s = 0; s < steps; s++) {
        V mean = {0}, product = {0};
        for (int c = 0; c < d; c++) {
            V g = dy[s * d + c] * weight[c];
            mean += g;
            product += g * normed[s * d + c];
        }
        mean *= 1.0f / d;
        product *= 1.0f / d;
        for (int c = 0; c < d; c++) dx[s * d + c] = (dy[s * d + c] * weight[c] - mean - normed[s * d + c] * product) * share[s];
    }
}

/* Adds up the groups' gradients [groups][count] in their order. */
SHARED void add_up(float *to, const float *from, int64_t groups, int64_t count) {
    memcpy(to, from, count * sizeof(float));
    for (int64_t g = 1; g < groups; g++)
        for (int64_t i = 0; i < count; i++) to[i] += from[g * count + i];
}

#endif
