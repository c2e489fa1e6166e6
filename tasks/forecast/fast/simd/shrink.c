/* What Informer distils between its encoder's layers: a circular convolution of three taps, batch norm, ELU, and a pool of every other step. */
#include <math.h>

#include "simd.h"

/* Mirrored in native.py. Vectors are [groups][steps][d] each, but y and dy of half the steps; w is [d][3][d]. */
typedef struct {
    int64_t groups, threads, windows, d, steps, training;
    double eps;
    const V *x;
    const float *w, *b, *gamma, *beta;
    float *mean, *deviation; /* [d]: of the windows in training, else what is given; then over its root */
    float *sums;             /* [groups][2 d] */
    V *normed, *y;
    const V *dy;
    V *between, *dx;
    float *slots, *gradients;
} Shrink;

INLINE int64_t shrink_weights(const Shrink *a) { return 3 * a->d * a->d + 3 * a->d; }

/* 1 in the lanes that hold windows, 0 in those beyond. */
static V there(const Shrink *a, int64_t g) {
    float lane[LANES];
    V found;
    for (int64_t l = 0; l < LANES; l++) lane[l] = g * LANES + l < a->windows;
    memcpy(&found, lane, sizeof found);
    return found;
}

/* The steps with the last before the first and the first after the last. */
static void around(V *to, const V *x, int steps, int d) {
    memcpy(to, x + (steps - 1) * d, d * sizeof(V));
    memcpy(to + d, x, steps * d * sizeof(V));
    memcpy(to + (steps + 1) * d, x, d * sizeof(V));
}

static int convolve(const Shrink *a, int64_t g) {
    const int d = a->d, n = a->steps;
    V *x = scratch((size_t)(n + 2) * d), *z = a->normed + g * n * d;
    const V lanes = there(a, g);
    if (!x) return 1;
    around(x, a->x + g * n * d, n, d);
    linear(z, d, x, d, a->w, 3 * d, 1, a->b, d, 3 * d, n, 0); /* three steps lie in a row */
    for (int c = 0; c < d; c++) {
        V sum = {0};
        for (int s = 0; s < n; s++) sum += z[s * d + c];
        a->sums[g * 2 * d + c] = across(sum * lanes);
    }
    free(x);
    return 0;
}

static int centre(const Shrink *a, int64_t g) {
    const int d = a->d, n = a->steps;
    V *z = a->normed + g * n * d;
    const V lanes = there(a, g);
    for (int c = 0; c < d; c++) {
        V sum = {0};
        for (int s = 0; s < n; s++) {
            z[s * d + c] -= a->mean[c];
            sum += z[s * d + c] * z[s * d + c];
        }
        a->sums[g * 2 * d + c] = across(sum * lanes);
    }
    return 0;
}

/* The group's channel c after norm and ELU. */
static void active(const Shrink *a, const V *normed, int c, V *to) {
    for (int s = 0; s < a->steps; s++) {
        V x = normed[s * a->d + c] * a->gamma[c] + a->beta[c];
        to[s] = pick(x > 0.0f, x, power2(pick(x > 0.0f, (V){0}, x) * 1.44269504f) - 1.0f);
    }
}

static int pool(const Shrink *a, int64_t g) {
    const int d = a->d, n = a->steps, half = (n - 1) / 2 + 1;
    V *z = a->normed + g * n * d, *y = a->y + g * half * d, *x = scratch(n);
    if (!x) return 1;
    for (int c = 0; c < d; c++) {
        for (int s = 0; s < n; s++) z[s * d + c] *= a->deviation[c];
        active(a, z, c, x);
        for (int t = 0; t < half; t++) {
            V best = x[2 * t];
            if (t) best = larger(best, x[2 * t - 1]);
            if (2 * t + 1 < n) best = larger(x[2 * t + 1], best);
            y[t * d + c] = best;
        }
    }
    free(x);
    return 0;
}

/* Adds the groups' sums to [d] numbers. */
static void add_sums(const Shrink *a, int first, double *to) {
    for (int64_t c = 0; c < a->d; c++) {
        to[c] = 0.0;
        for (int64_t g = 0; g < a->groups; g++) to[c] += a->sums[g * 2 * a->d + first + c];
    }
}

int shrink_convolve(const Shrink *a) {
    FOR_GROUPS(convolve(a, g));
    return failed;
}

int shrink_centre(const Shrink *a) {
    FOR_GROUPS(centre(a, g));
    return failed;
}

int shrink_pool(const Shrink *a) {
    FOR_GROUPS(pool(a, g));
    return failed;
}

/* In training `deviation` becomes the variance first, which is left in `sums` for the module's own record. */
int shrink_forward(const Shrink *a) {
    double *total = malloc(a->d * sizeof(double));
    const double count = (double)a->windows * a->steps;
    if (!total) return 1;
    int failed = shrink_convolve(a);
    add_sums(a, 0, total);
    for (int64_t c = 0; c < a->d && a->training; c++) a->mean[c] = (float)(total[c] / count);
    failed |= shrink_centre(a);
    add_sums(a, 0, total);
    for (int64_t c = 0; c < a->d; c++) {
        const double variance = a->training ? total[c] / count : a->deviation[c];
        a->sums[c] = (float)variance;
        a->deviation[c] = (float)(1.0 / sqrt(variance + a->eps));
    }
    failed |= shrink_pool(a);
    free(total);
    return failed;
}

/* The gradient of the norm's output to `between`, and its sums. The first of equal steps is the largest, as in PyTorch. */
static int pool_back(const Shrink *a, int64_t g) {
    const int d = a->d, n = a->steps, half = (n - 1) / 2 + 1;
    const V *z = a->normed + g * n * d, *dy = a->dy + g * half * d;
    V *to = a->between + g * n * d, *x = scratch(2 * n), *grad = x + n;
    if (!x) return 1;
    for (int c = 0; c < d; c++) {
        V of_gamma = {0}, of_beta = {0};
        active(a, z, c, x);
        memset(grad, 0, n * sizeof(V));
        for (int t = 0; t < half; t++) {
            const V of = dy[t * d + c];
            I second = (I){0} == 0, third = {0};
            V best = x[2 * t];
            if (t) {
                second = x[2 * t] > x[2 * t - 1];
                best = pick(second, best, x[2 * t - 1]);
            }
            if (2 * t + 1 < n) third = x[2 * t + 1] > best;
            if (t) grad[2 * t - 1] += (V)((I)of & ~second & ~third);
            grad[2 * t] += (V)((I)of & second & ~third);
            if (2 * t + 1 < n) grad[2 * t + 1] += (V)((I)of & third);
        }
        for (int s = 0; s < n; s++) {
            grad[s] = pick(x[s] > 0.0f, grad[s], grad[s] * (x[s] + 1.0f));
            of_gamma += grad[s] * z[s * d + c];
            of_beta += grad[s];
            to[s * d + c] = grad[s];
        }
        a->sums[g * 2 * d + c] = across(of_gamma);
        a->sums[g * 2 * d + d + c] = across(of_beta);
    }
    free(x);
    return 0;
}

static int convolve_back(const Shrink *a, int64_t g) {
    const int d = a->d, n = a->steps;
    const double count = (double)a->windows * n;
    const V *z = a->normed + g * n * d, lanes = there(a, g);
    V *dz = a->between + g * n * d, *dx = a->dx + g * n * d, *x = scratch((size_t)2 * (n + 2) * d), *around_dx = x + (n + 2) * d;
    float *slot = a->slots + g * shrink_weights(a);
    const float *of_gamma = a->gradients + 3 * d * d + d, *of_beta = of_gamma + d;
    if (!x) return 1;
    for (int c = 0; c < d; c++) {
        const float scale = a->gamma[c] * a->deviation[c], first = (float)(of_beta[c] / count), second = (float)(of_gamma[c] / count);
        for (int s = 0; s < n; s++) {
            V whole = dz[s * d + c];
            if (a->training) whole -= first + z[s * d + c] * second;
            dz[s * d + c] = whole * scale * lanes;
        }
    }
    around(x, a->x + g * n * d, n, d);
    outer(slot, slot + 3 * d * d, dz, d, x, d, d, 3 * d, n);
    memset(slot + 3 * d * d + d, 0, 2 * d * sizeof(float)); /* these were added up before */
    memset(around_dx, 0, (n + 2) * d * sizeof(V));
    for (int tap = 0; tap < 3; tap++) linear(around_dx + tap * d, d, dz, d, a->w + tap * d, 1, 3 * d, NULL, d, d, n, 1);
    memcpy(dx, around_dx + d, n * d * sizeof(V));
    for (int c = 0; c < d; c++) {
        dx[(n - 1) * d + c] += around_dx[c];
        dx[c] += around_dx[(n + 1) * d + c];
    }
    free(x);
    return 0;
}

int shrink_pool_back(const Shrink *a) {
    FOR_GROUPS(pool_back(a, g));
    return failed;
}

int shrink_convolve_back(const Shrink *a) {
    FOR_GROUPS(convolve_back(a, g));
    return failed;
}

int shrink_backward(const Shrink *a) {
    const int64_t d = a->d, most = 3 * d * d + d;
    double *total = malloc(2 * d * sizeof(double));
    if (!total) return 1;
    int failed = shrink_pool_back(a);
    add_sums(a, 0, total);
    add_sums(a, (int)d, total + d);
    for (int64_t c = 0; c < 2 * d; c++) a->gradients[most + c] = (float)total[c];
    failed |= shrink_convolve_back(a);
    add_up(a->gradients, a->slots, a->groups, shrink_weights(a));
    for (int64_t c = 0; c < 2 * d; c++) a->gradients[most + c] = (float)total[c];
    free(total);
    return failed;
}

int64_t shrink_size(void) { return sizeof(Shrink); }
