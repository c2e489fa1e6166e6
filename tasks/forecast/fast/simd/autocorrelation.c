/* Autoformer's attention: correlations of queries and keys at each delay, and sums of rolled values. */
#include <math.h>

#include "simd.h"

#define DELAYS 8 /* at a time */

/* Mirrored in native.py. Vectors are [groups][...] each; `source` is `x` where it looks at itself, else its first steps count. */
typedef struct {
    int64_t groups, threads, d, steps, keys, itself;
    const V *x, *source;
    const float *wq, *bq, *wk, *bk, *wv, *bv;
    V *q, *k, *v, *correlation; /* [steps][d] three times, [steps] */
    const V *dv, *dcorrelation;
    V *dx, *dsource;
    float *slots, *gradients;
} Correlation;

/* Of each window's correlations the largest, and their softmax as the weights of rolls. */
typedef struct {
    int64_t windows, steps, heads, count, together; /* together: the same delays for all windows, by their mean */
    const V *correlation; /* [steps] */
    int64_t *delays;      /* [windows][count] */
    float *shares;        /* [windows][count] */
    V *weight;            /* [heads][steps] */
    const V *dweight;
    V *dcorrelation;
} Choice;

/* x + dropout(wo (the sum over delays of weight[head][delay] v[step + delay]) + bo). */
typedef struct {
    int64_t groups, threads, d, heads, steps;
    Dropout branch;
    const V *x, *v, *weight; /* [steps][d] twice, [heads][steps] */
    const float *wo, *bo;
    V *rolled, *y;           /* [steps][d] twice */
    const V *dy;
    V *dx, *dv, *dweight;
    float *slots, *gradients;
} Rolling;

INLINE int zero(V x) {
    int found = 1;
    for (int l = 0; l < LANES; l++) found &= x[l] == 0.0f;
    return found;
}

INLINE void correlate_delays(V *to, const V *q, const V *k, int first, int steps, int d, const int delays) {
    V sum[DELAYS] = {{0}};
    for (int i = 0; i < steps * d; i++)
        for (int j = 0; j < delays; j++) sum[j] += q[(first + j) * d + i] * k[i];
    for (int j = 0; j < delays; j++) to[first + j] = sum[j] * (1.0f / d);
}

/* y[s] += weight x[s + delay], round and round. */
INLINE void add_rolled(V *y, const V *x, V weight, int delay, int steps, int d, int from, int width) {
    for (int s = 0, at = delay % steps; s < steps; s++, at = at + 1 < steps ? at + 1 : 0)
        for (int c = from; c < from + width; c++) y[s * d + c] += weight * x[at * d + c];
}

static int correlate(const Correlation *a, int64_t g) {
    const int d = a->d, n = a->steps;
    const V *x = a->x + g * n * d, *source = a->source + g * a->keys * d;
    V *q = a->q + g * n * d, *k = a->k + g * n * d, *v = a->v + g * n * d, *to = a->correlation + g * n, *twice = scratch(2 * n * d);
    if (!twice) return 1;
    linear(q, d, x, d, a->wq, d, 1, a->bq, d, d, n, 0);
    linear(k, d, source, d, a->wk, d, 1, a->bk, d, d, n, 0);
    linear(v, d, source, d, a->wv, d, 1, a->bv, d, d, n, 0);
    memcpy(twice, q, n * d * sizeof(V));
    memcpy(twice + n * d, q, n * d * sizeof(V));
    int first = 0;
    for (; first + DELAYS <= n; first += DELAYS) correlate_delays(to, twice, k, first, n, d, DELAYS);
    for (; first < n; first++) correlate_delays(to, twice, k, first, n, d, 1);
    free(twice);
    return 0;
}

static int correlate_back(const Correlation *a, int64_t g) {
    const int d = a->d, n = a->steps, both = d * d + d;
    const V *x = a->x + g * n * d, *source = a->source + g * a->keys * d, *dv = a->dv + g * n * d;
    V *dx = a->dx + g * n * d, *dsource = a->itself ? dx : a->dsource + g * a->keys * d, *dq = scratch(2 * n * d), *dk = dq + n * d;
    float *slot = a->slots + g * 3 * both;
    if (!dq) return 1;
    memset(dq, 0, 2 * n * d * sizeof(V));
    for (int delay = 0; delay < n; delay++) {
        V of = a->dcorrelation[g * n + delay] * (1.0f / d);
        if (zero(of)) continue;
        add_rolled(dk, a->q + g * n * d, of, delay, n, d, 0, d);
        add_rolled(dq, a->k + g * n * d, of, n - delay, n, d, 0, d);
    }
    outer(slot, slot + d * d, dq, d, x, d, d, d, n);
    outer(slot + both, slot + both + d * d, dk, d, source, d, d, d, n);
    outer(slot + 2 * both, slot + 2 * both + d * d, dv, d, source, d, d, d, n);
    linear(dx, d, dq, d, a->wq, 1, d, NULL, d, d, n, 0);
    linear(dsource, d, dk, d, a->wk, 1, d, NULL, d, d, n, a->itself);
    linear(dsource, d, dv, d, a->wv, 1, d, NULL, d, d, n, 1);
    if (!a->itself) memset(dsource + n * d, 0, (a->keys - n) * d * sizeof(V));
    free(dq);
    return 0;
}

int correlation_forward(const Correlation *a) {
    FOR_GROUPS(correlate(a, g));
    return failed;
}

int correlation_backward(const Correlation *a) {
    FOR_GROUPS(correlate_back(a, g));
    add_up(a->gradients, a->slots, a->groups, 3 * (a->d * a->d + a->d));
    return failed;
}

INLINE ptrdiff_t at_lane(int64_t window, int64_t count, int64_t number) {
    return ((window / LANES) * count + number) * LANES + window % LANES;
}

/* The places of the `count` largest of values[steps], which are lost. */
static void largest(int64_t *to, double *values, int steps, int count) {
    for (int i = 0; i < count; i++) {
        int best = 0;
        for (int s = 1; s < steps; s++)
            if (values[s] > values[best]) best = s;
        to[i] = best;
        values[best] = -INFINITY;
    }
}

int choice_forward(const Choice *a) {
    const float *from = (const float *)a->correlation;
    double *values = calloc(a->steps, sizeof(double));
    if (!values) return 1;
    for (int64_t w = 0; w < a->windows && a->together; w++)
        for (int64_t s = 0; s < a->steps; s++) values[s] += from[at_lane(w, a->steps, s)];
    if (a->together) largest(a->delays, values, a->steps, a->count);
    for (int64_t w = 0; w < a->windows; w++) {
        int64_t *delays = a->delays + w * a->count;
        float *shares = a->shares + w * a->count, most = -INFINITY, total = 0.0f;
        for (int64_t s = 0; s < a->steps && !a->together; s++) values[s] = from[at_lane(w, a->steps, s)];
        if (!a->together)
            largest(delays, values, a->steps, a->count);
        else if (w)
            memcpy(delays, a->delays, a->count * sizeof(int64_t));
        for (int64_t i = 0; i < a->count; i++) most = fmaxf(most, from[at_lane(w, a->steps, delays[i])]);
        for (int64_t i = 0; i < a->count; i++) total += shares[i] = expf(from[at_lane(w, a->steps, delays[i])] - most);
        for (int64_t i = 0; i < a->count; i++) shares[i] /= total;
    }
    free(values);
    memset(a->weight, 0, (a->windows + LANES - 1) / LANES * a->heads * a->steps * sizeof(V));
    /* The library repeats the weights as [heads][windows] over values that lie as [windows][heads]: with several heads a window is
       rolled by the weights of others in its batch. Its trained models are made so, and this gives what it gives. */
    for (int64_t w = 0; w < a->windows; w++)
        for (int64_t head = 0; head < a->heads; head++) {
            const int64_t of = (w * a->heads + head) % a->windows * a->count;
            for (int64_t i = 0; i < a->count; i++)
                ((float *)a->weight)[at_lane(w, a->heads * a->steps, head * a->steps + a->delays[of + i])] = a->shares[of + i];
        }
    return 0;
}

int choice_backward(const Choice *a) {
    float *grads = calloc(a->windows * a->count, sizeof(float)), *to = (float *)a->dcorrelation;
    if (!grads) return 1;
    for (int64_t w = 0; w < a->windows; w++)
        for (int64_t head = 0; head < a->heads; head++) {
            const int64_t of = (w * a->heads + head) % a->windows * a->count;
            for (int64_t i = 0; i < a->count; i++)
                grads[of + i] += ((const float *)a->dweight)[at_lane(w, a->heads * a->steps, head * a->steps + a->delays[of + i])];
        }
    memset(to, 0, (a->windows + LANES - 1) / LANES * a->steps * sizeof(V));
    for (int64_t w = 0; w < a->windows; w++) {
        const float *share = a->shares + w * a->count, *grad = grads + w * a->count;
        float mean = 0.0f;
        for (int64_t i = 0; i < a->count; i++) mean += share[i] * grad[i];
        for (int64_t i = 0; i < a->count; i++) to[at_lane(w, a->steps, a->delays[w * a->count + i])] = share[i] * (grad[i] - mean);
    }
    free(grads);
    return 0;
}

static int roll(const Rolling *a, int64_t g) {
    const int d = a->d, n = a->steps, width = d / a->heads;
    const V *x = a->x + g * n * d, *v = a->v + g * n * d, *weight = a->weight + g * a->heads * n;
    V *rolled = a->rolled + g * n * d, *y = a->y + g * n * d;
    const Masks branch = masks_of(&a->branch, g);
    memset(rolled, 0, n * d * sizeof(V));
    for (int head = 0; head < a->heads; head++)
        for (int delay = 0; delay < n; delay++)
            if (!zero(weight[head * n + delay])) add_rolled(rolled, v, weight[head * n + delay], delay, n, d, head * width, width);
    linear(y, d, rolled, d, a->wo, d, 1, a->bo, d, d, n, 0);
    drop(&branch, 0, y, y, n * d);
    for (int i = 0; i < n * d; i++) y[i] += x[i];
    return 0;
}

static int roll_back(const Rolling *a, int64_t g) {
    const int d = a->d, n = a->steps, width = d / a->heads;
    const V *v = a->v + g * n * d, *weight = a->weight + g * a->heads * n, *dy = a->dy + g * n * d;
    V *dv = a->dv + g * n * d, *dweight = a->dweight + g * a->heads * n, *dbranch = scratch(2 * n * d), *drolled = dbranch + n * d;
    float *slot = a->slots + g * (d * d + d);
    if (!dbranch) return 1;
    const Masks branch = masks_of(&a->branch, g);
    memcpy(a->dx + g * n * d, dy, n * d * sizeof(V));
    drop(&branch, 0, dbranch, dy, n * d);
    outer(slot, slot + d * d, dbranch, d, a->rolled + g * n * d, d, d, d, n);
    linear(drolled, d, dbranch, d, a->wo, 1, d, NULL, d, d, n, 0);
    memset(dv, 0, n * d * sizeof(V));
    for (int head = 0; head < a->heads; head++)
        for (int delay = 0; delay < n; delay++) {
            const V times = weight[head * n + delay];
            V sum = {0};
            if (!zero(times)) {
                add_rolled(dv, drolled, times, n - delay, n, d, head * width, width);
                for (int s = 0, at = delay; s < n; s++, at = at + 1 < n ? at + 1 : 0)
                    for (int c = head * width; c < (head + 1) * width; c++) sum += drolled[s * d + c] * v[at * d + c];
            }
            dweight[head * n + delay] = sum;
        }
    free(dbranch);
    return 0;
}

int rolling_forward(const Rolling *a) {
    FOR_GROUPS(roll(a, g));
    return failed;
}

int rolling_backward(const Rolling *a) {
    FOR_GROUPS(roll_back(a, g));
    add_up(a->gradients, a->slots, a->groups, a->d * a->d + a->d);
    return failed;
}

int64_t choice_size(void) { return sizeof(Choice); }
int64_t correlation_size(void) { return sizeof(Correlation); }
int64_t rolling_size(void) { return sizeof(Rolling); }
