/* Feed-forward layers, the embedding of the inputs, and the way between windows in rows and windows in lanes. */
#include "simd.h"

/* Mirrored in native.py. x + dropout(fc2(dropout(gelu(fc1(x))))), and the norm of that where asked for. */
typedef struct {
    int64_t groups, threads, d, inner, steps, normed_after;
    double eps;
    Dropout activation, branch;
    const V *x;
    const float *w1, *b1, *w2, *b2, *gamma, *beta;
    V *hidden, *normed, *deviation, *y; /* [steps][inner], [steps][d], [steps], [steps][d] */
    const V *dy;
    V *dx;
    float *slots, *gradients;
} FeedForward;

/* The norm of W features + positions, and dropout. A step's features: lagged values (or those of `given`), static ones, times. */
typedef struct {
    int64_t groups, threads, d, steps, dims, lags, statics, times, length, first, begin, time_steps;
    double eps;
    Dropout branch;
    const V *values, *given, *fixed, *moving; /* [dims][length], [steps][dims * lags] or none, [statics], [time_steps][times] */
    const int64_t *lag;
    const float *w, *positions, *gamma, *beta;
    V *normed, *deviation, *y;
    const V *dy;
    V *dfixed;
    float *slots, *gradients;
} Embedding;

/* y = W x + b. */
typedef struct {
    int64_t groups, threads, in, out, steps;
    const V *x;
    const float *w, *b;
    V *y;
    const V *dy;
    V *dx;
    float *slots, *gradients;
} Linear;

INLINE int64_t feed_weights(const FeedForward *a) { return 2 * a->inner * a->d + a->inner + (a->normed_after ? 3 : 1) * a->d; }

static int feed(const FeedForward *a, int64_t g) {
    const int d = a->d, inner = a->inner, n = a->steps;
    const V *x = a->x + g * n * d;
    V *hidden = a->hidden + g * n * inner, *normed = a->normed + g * n * d, *y = a->y + g * n * d;
    V *active = scratch((size_t)n * inner + inner), *acts = active + inner;
    if (!active) return 1;
    const Masks activation = masks_of(&a->activation, g), branch = masks_of(&a->branch, g);
    linear(hidden, inner, x, d, a->w1, d, 1, a->b1, inner, d, n, 0);
    for (int s = 0; s < n; s++) {
        for (int i = 0; i < inner; i++) {
            V below, density;
            normal(hidden[s * inner + i], &below, &density);
            active[i] = hidden[s * inner + i] * below;
        }
        drop(&activation, s * places(inner), acts + s * inner, active, inner);
    }
    linear(normed, d, acts, inner, a->w2, inner, 1, a->b2, d, inner, n, 0);
    drop(&branch, 0, normed, normed, n * d);
    for (int i = 0; i < n * d; i++) normed[i] += x[i];
    if (a->normed_after)
        norm(y, normed, a->deviation + g * n, a->gamma, a->beta, (float)a->eps, n, d);
    else
        memcpy(y, normed, n * d * sizeof(V));
    free(active);
    return 0;
}

static int feed_back(const FeedForward *a, int64_t g) {
    const int d = a->d, inner = a->inner, n = a->steps;
    const V *x = a->x + g * n * d, *hidden = a->hidden + g * n * inner, *dy = a->dy + g * n * d;
    V *dx = a->dx + g * n * d, *space = scratch((size_t)n * d + 2 * (size_t)n * inner + 2 * inner);
    if (!space) return 1;
    V *dbranch = space, *active = dbranch + n * d, *dhidden = active + n * inner, *row = dhidden + n * inner, *slope = row + inner;
    float *w1 = a->slots + g * feed_weights(a), *b1 = w1 + inner * d, *w2 = b1 + inner, *b2 = w2 + d * inner;
    const Masks activation = masks_of(&a->activation, g), branch = masks_of(&a->branch, g);
    if (a->normed_after)
        norm_back(dx, dy, a->normed + g * n * d, a->deviation + g * n, a->gamma, b2 + d, b2 + 2 * d, n, d);
    else
        memcpy(dx, dy, n * d * sizeof(V));
    drop(&branch, 0, dbranch, dx, n * d);
    linear(dhidden, inner, dbranch, d, a->w2, 1, inner, NULL, inner, d, n, 0);
    for (int s = 0; s < n; s++) {
        for (int i = 0; i < inner; i++) {
            V below, density, h = hidden[s * inner + i];
            normal(h, &below, &density);
            row[i] = h * below;
            slope[i] = below + h * density;
        }
        drop(&activation, s * places(inner), active + s * inner, row, inner);
        drop(&activation, s * places(inner), slope, slope, inner);
        for (int i = 0; i < inner; i++) dhidden[s * inner + i] *= slope[i];
    }
    outer(w2, b2, dbranch, d, active, inner, d, inner, n);
    outer(w1, b1, dhidden, inner, x, d, inner, d, n);
    linear(dx, d, dhidden, inner, a->w1, 1, d, NULL, d, inner, n, 1);
    free(space);
    return 0;
}

int feed_forward(const FeedForward *a) {
    FOR_GROUPS(feed(a, g));
    return failed;
}

int feed_backward(const FeedForward *a) {
    FOR_GROUPS(feed_back(a, g));
    add_up(a->gradients, a->slots, a->groups, feed_weights(a));
    return failed;
}

INLINE int features_of(const Embedding *a) { return a->dims * a->lags + a->statics + a->times; }

static void features(const Embedding *a, int64_t g, V *to) {
    const int lagged = a->dims * a->lags, width = features_of(a);
    const V *values = a->values + g * a->dims * a->length, *moving = a->moving + (g * a->time_steps + a->first) * a->times;
    for (int s = 0; s < a->steps; s++, to += width) {
        if (a->given)
            memcpy(to, a->given + (g * a->steps + s) * lagged, lagged * sizeof(V));
        else
            for (int c = 0; c < a->dims; c++)
                for (int i = 0; i < a->lags; i++) to[c * a->lags + i] = values[c * a->length + a->begin + s - a->lag[i]];
        memcpy(to + lagged, a->fixed + g * a->statics, a->statics * sizeof(V));
        memcpy(to + lagged + a->statics, moving + s * a->times, a->times * sizeof(V));
    }
}

static int embed(const Embedding *a, int64_t g) {
    const int d = a->d, n = a->steps, width = features_of(a);
    V *x = scratch((size_t)n * width), *normed = a->normed + g * n * d, *y = a->y + g * n * d;
    const Masks branch = masks_of(&a->branch, g);
    if (!x) return 1;
    features(a, g, x);
    linear(normed, d, x, width, a->w, width, 1, NULL, d, width, n, 0);
    for (int i = 0; i < n * d; i++) normed[i] += a->positions[i];
    norm(y, normed, a->deviation + g * n, a->gamma, a->beta, (float)a->eps, n, d);
    drop(&branch, 0, y, y, n * d);
    free(x);
    return 0;
}

static int embed_back(const Embedding *a, int64_t g) {
    const int d = a->d, n = a->steps, width = features_of(a), lagged = a->dims * a->lags;
    V *x = scratch((size_t)n * (width + d) + d), *dx = x + n * width, *total = dx + n * d;
    float *slot = a->slots + g * (d * width + 2 * d);
    const Masks branch = masks_of(&a->branch, g);
    if (!x) return 1;
    features(a, g, x);
    drop(&branch, 0, dx, a->dy + g * n * d, n * d);
    norm_back(dx, dx, a->normed + g * n * d, a->deviation + g * n, a->gamma, slot + d * width, slot + d * width + d, n, d);
    outer(slot, NULL, dx, d, x, width, d, width, n);
    for (int c = 0; c < d; c++) {
        total[c] = (V){0};
        for (int s = 0; s < n; s++) total[c] += dx[s * d + c];
    }
    linear(a->dfixed + g * a->statics, a->statics, total, d, a->w + lagged, 1, width, NULL, a->statics, d, 1, 0);
    free(x);
    return 0;
}

int embedding_forward(const Embedding *a) {
    FOR_GROUPS(embed(a, g));
    return failed;
}

int embedding_backward(const Embedding *a) {
    FOR_GROUPS(embed_back(a, g));
    add_up(a->gradients, a->slots, a->groups, a->d * features_of(a) + 2 * a->d);
    return failed;
}

static int line(const Linear *a, int64_t g) {
    linear(a->y + g * a->steps * a->out, a->out, a->x + g * a->steps * a->in, a->in, a->w, a->in, 1, a->b, a->out, a->in, a->steps, 0);
    return 0;
}

static int line_back(const Linear *a, int64_t g) {
    const V *x = a->x + g * a->steps * a->in, *dy = a->dy + g * a->steps * a->out;
    float *slot = a->slots + g * (a->out * a->in + a->out);
    outer(slot, slot + a->out * a->in, dy, a->out, x, a->in, a->out, a->in, a->steps);
    linear(a->dx + g * a->steps * a->in, a->in, dy, a->out, a->w, 1, a->in, NULL, a->in, a->out, a->steps, 0);
    return 0;
}

int linear_forward(const Linear *a) {
    FOR_GROUPS(line(a, g));
    return failed;
}

int linear_backward(const Linear *a) {
    FOR_GROUPS(line_back(a, g));
    add_up(a->gradients, a->slots, a->groups, a->out * a->in + a->out);
    return failed;
}

/* [windows][count] to [groups][count][LANES], with 0 for the windows that the last group lacks. */
void to_lanes(float *to, const float *from, int64_t windows, int64_t count, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t g = 0; g < (windows + LANES - 1) / LANES; g++)
        for (int64_t i = 0; i < count; i++)
            for (int64_t l = 0; l < LANES; l++) {
                const int64_t window = g * LANES + l;
                to[(g * count + i) * LANES + l] = window < windows ? from[window * count + i] : 0.0f;
            }
}

void from_lanes(float *to, const float *from, int64_t windows, int64_t count, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t g = 0; g < (windows + LANES - 1) / LANES; g++)
        for (int64_t l = 0; l < LANES && g * LANES + l < windows; l++)
            for (int64_t i = 0; i < count; i++) to[(g * LANES + l) * count + i] = from[(g * count + i) * LANES + l];
}

const char *made_from(void) { return SOURCES; }
int64_t lanes(void) { return LANES; }
int64_t feed_size(void) { return sizeof(FeedForward); }
int64_t embedding_size(void) { return sizeof(Embedding); }
int64_t linear_size(void) { return sizeof(Linear); }
