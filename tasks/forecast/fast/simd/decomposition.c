/* Autoformer's split into trend and rest. */
#include "simd.h"

/* The moving average of x, and the rest; with a norm before or after, and its mean over the steps taken off. */
typedef struct {
    int64_t groups, threads, d, steps, kernel, norm_first, demean;
    double eps;
    const V *x;
    const float *gamma, *beta;
    V *normed, *deviation, *trend, *y;
    const V *dy, *dtrend; /* of the trend or none */
    V *dx;
    float *slots, *gradients;
} Decomposition;

INLINE int within(int s, int steps) { return s < 0 ? 0 : s < steps ? s : steps - 1; }

/* The average over `kernel` steps around each, the first and the last repeated beyond the ends. */
static void average(V *to, const V *x, int steps, int d, int kernel) {
    const int half = kernel / 2;
    for (int c = 0; c < d; c++) {
        V sum = {0};
        for (int j = -half; j <= half; j++) sum += x[within(j, steps) * d + c];
        for (int s = 0; s < steps; s++) {
            to[s * d + c] = sum * (1.0f / kernel);
            sum += x[within(s + half + 1, steps) * d + c] - x[within(s - half, steps) * d + c];
        }
    }
}

/* Adds the gradient of the average's input to dx. */
static void average_back(V *dx, const V *dy, int steps, int d, int kernel) {
    const int half = kernel / 2;
    for (int c = 0; c < d; c++) {
        V sum = {0};
        for (int at = -half; at < steps + half; at++) { /* each place of the series with its ends repeated */
            if (at + half < steps) sum += dy[(at + half) * d + c];
            dx[within(at, steps) * d + c] += sum * (1.0f / kernel);
            if (at - half >= 0) sum -= dy[(at - half) * d + c];
        }
    }
}

static int decompose(const Decomposition *a, int64_t g) {
    const int d = a->d, n = a->steps, count = n * d;
    V *normed = a->normed + g * count, *trend = a->trend + g * count, *y = a->y + g * count;
    memcpy(normed, a->x + g * count, count * sizeof(V));
    if (a->norm_first) {
        V *whole = scratch(count);
        if (!whole) return 1;
        norm(whole, normed, a->deviation + g * n, a->gamma, a->beta, (float)a->eps, n, d);
        average(trend, whole, n, d, a->kernel);
        for (int i = 0; i < count; i++) y[i] = whole[i] - trend[i];
        free(whole);
        return 0;
    }
    average(trend, normed, n, d, a->kernel);
    for (int i = 0; i < count; i++) normed[i] -= trend[i];
    norm(y, normed, a->deviation + g * n, a->gamma, a->beta, (float)a->eps, n, d);
    for (int c = 0; c < d && a->demean; c++) {
        V mean = {0};
        for (int s = 0; s < n; s++) mean += y[s * d + c];
        mean *= 1.0f / n;
        for (int s = 0; s < n; s++) y[s * d + c] -= mean;
    }
    return 0;
}

static int decompose_back(const Decomposition *a, int64_t g) {
    const int d = a->d, n = a->steps, count = n * d;
    const V *normed = a->normed + g * count, *share = a->deviation + g * n, *dtrend = a->dtrend ? a->dtrend + g * count : NULL;
    V *dx = a->dx + g * count, *whole = scratch(2 * count), *split = whole + count;
    float *slot = a->slots + g * 2 * d;
    if (!whole) return 1;
    memcpy(whole, a->dy + g * count, count * sizeof(V));
    for (int c = 0; c < d && a->demean; c++) {
        V mean = {0};
        for (int s = 0; s < n; s++) mean += whole[s * d + c];
        mean *= 1.0f / n;
        for (int s = 0; s < n; s++) whole[s * d + c] -= mean;
    }
    if (!a->norm_first) norm_back(whole, whole, normed, share, a->gamma, slot, slot + d, n, d);
    for (int i = 0; i < count; i++) split[i] = (dtrend ? dtrend[i] : (V){0}) - whole[i];
    average_back(whole, split, n, d, a->kernel);
    if (a->norm_first)
        norm_back(dx, whole, normed, share, a->gamma, slot, slot + d, n, d);
    else
        memcpy(dx, whole, count * sizeof(V));
    free(whole);
    return 0;
}

int decomposition_forward(const Decomposition *a) {
    FOR_GROUPS(decompose(a, g));
    return failed;
}

int decomposition_backward(const Decomposition *a) {
    FOR_GROUPS(decompose_back(a, g));
    add_up(a->gradients, a->slots, a->groups, 2 * a->d);
    return failed;
}

/* Of inputs [groups][steps][width]. */
void moving_average(V *to, const V *x, int64_t groups, int64_t steps, int64_t width, int64_t kernel, int64_t threads) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t g = 0; g < groups; g++) average(to + g * steps * width, x + g * steps * width, steps, width, kernel);
}

int64_t decomposition_size(void) { return sizeof(Decomposition); }
