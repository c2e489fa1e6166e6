/* Attention with its four linear layers, dropout, the sum with its input and the norm after it; forward and backward. */
#include "head.h"

/* Mirrored in native.py. Vectors are [groups][...] each; `source` is `x` where it attends to itself. */
typedef struct {
    int64_t groups, threads, d, heads, queries, keys, itself, causal;
    int64_t chosen, drawn;               /* sparse attention: queries that attend, and keys that they are chosen by; 0: all attend */
    double scaling, eps;
    Dropout chances, branch;
    const V *x, *source;
    const float *wq, *bq, *wk, *bk, *wv, *bv, *wo, *bo, *gamma, *beta;
    const int64_t *seen;                 /* [drawn] */
    const float *times;                  /* [drawn]: how often each was drawn, over the number of keys */
    V *q, *k, *v, *out, *most, *share;   /* [queries][d], [keys][d] twice, [queries][d], [heads][attending] twice */
    I *where;                            /* [heads][chosen] */
    V *normed, *deviation, *y;           /* [queries][d], [queries], [queries][d] */
    const V *dy;
    V *dx, *dsource;
    float *slots, *gradients;            /* [groups][gradients], [gradients] */
} Attention;

/* The queries whose largest score over the drawn keys lies farthest above their mean, in their order, to where[chosen]. */
static void choose(const Attention *a, const V *q, const V *k, I *where, V *measure) {
    const int d = a->d, width = a->d / a->heads, queries = a->queries;
    V mean[WIDEST];
    for (int c = 0; c < width; c++) {
        mean[c] = (V){0};
        for (int i = 0; i < a->drawn; i++) mean[c] += k[a->seen[i] * d + c] * a->times[i];
    }
    for (int s = 0; s < queries; s++) {
        V most = all(HIDDEN), middle = {0};
        for (int i = 0; i < a->drawn; i++) {
            const V *key = k + a->seen[i] * d;
            V sum = q[s * d] * key[0];
            for (int c = 1; c < width; c++) sum += q[s * d + c] * key[c];
            most = larger(sum, most);
        }
        for (int c = 0; c < width; c++) middle += q[s * d + c] * mean[c];
        measure[s] = most - middle;
    }
    I count = {0};
    for (int s = 0; s < queries; s++) {
        I before = {0};
        for (int other = 0; other < s; other++) before -= measure[other] >= measure[s];
        for (int other = s + 1; other < queries; other++) before -= measure[other] > measure[s];
        for (int l = 0; l < LANES; l++)
            if (before[l] < a->chosen && count[l] < a->chosen) ((int32_t *)where)[count[l]++ * LANES + l] = s;
    }
    /* Not a number compares with nothing: the last queries stand in, and the loss says so. */
    for (int l = 0; l < LANES; l++)
        for (; count[l] < a->chosen; count[l]++) ((int32_t *)where)[count[l] * LANES + l] = queries - 1;
}

/* rows[i][c] = x[where[i]][c] for each window. */
static void take_rows(V *rows, const V *x, int d, const I *where, int count, int width) {
    for (int i = 0; i < count; i++)
        for (int c = 0; c < width; c++)
            for (int l = 0; l < LANES; l++)
                ((float *)rows)[(i * width + c) * LANES + l] = ((const float *)x)[((ptrdiff_t)where[i][l] * d + c) * LANES + l];
}

static void put_rows(V *x, const V *rows, int d, const I *where, int count, int width) {
    for (int i = 0; i < count; i++)
        for (int c = 0; c < width; c++)
            for (int l = 0; l < LANES; l++)
                ((float *)x)[((ptrdiff_t)where[i][l] * d + c) * LANES + l] = ((const float *)rows)[(i * width + c) * LANES + l];
}

/* What queries that don't attend get: the values' mean, or their sum so far. */
static void lazy(const Attention *a, V *out, const V *v) {
    const int d = a->d, width = a->d / a->heads, steps = a->keys;
    for (int c = 0; c < width; c++) {
        V sum = {0};
        for (int s = 0; s < steps; s++) {
            sum += v[s * d + c];
            out[s * d + c] = sum;
        }
        for (int s = 0; s < steps && a->causal != PAST; s++) out[s * d + c] = sum * (1.0f / steps);
    }
}

static void lazy_back(const Attention *a, const V *dout, V *dv) {
    const int d = a->d, width = a->d / a->heads, steps = a->keys;
    for (int c = 0; c < width; c++) {
        V sum = {0};
        for (int s = steps - 1; s >= 0; s--) {
            sum += dout[s * d + c];
            if (a->causal == PAST) dv[s * d + c] += sum;
        }
        for (int s = 0; s < steps && a->causal != PAST; s++) dv[s * d + c] += sum * (1.0f / steps);
    }
}

INLINE int attending(const Attention *a) { return a->chosen ? a->chosen : a->queries; }

INLINE Head head_of(const Attention *a, int64_t group, int number, const Masks *masks) {
    const int d = a->d, width = a->d / a->heads, count = attending(a);
    const ptrdiff_t offset = group * a->heads * count + (ptrdiff_t)number * count;
    return (Head){
        .q = a->q + group * a->queries * d + number * width,
        .k = a->k + group * a->keys * d + number * width,
        .v = a->v + group * a->keys * d + number * width,
        .qs = d, .ks = d, .queries = count, .keys = a->keys, .width = width, .causal = a->causal,
        .where = a->chosen ? a->where + offset : NULL,
        .most = a->most + offset, .share = a->share + offset,
        .masks = masks, .place = (uint32_t)(number * count) * places(a->keys),
    };
}

static int forward_group(const Attention *a, int64_t g) {
    const int d = a->d, width = d / a->heads, n = a->queries, m = a->keys, count = attending(a);
    const V *x = a->x + g * n * d, *source = a->source + g * m * d;
    V *q = a->q + g * n * d, *k = a->k + g * m * d, *v = a->v + g * m * d, *out = a->out + g * n * d;
    V *normed = a->normed + g * n * d, *y = a->y + g * n * d;
    const Masks chances = masks_of(&a->chances, g), branch = masks_of(&a->branch, g);
    V *space = scratch(n + ROWS * m + 2 * count * width);
    if (!space) return 1;
    linear(q, d, x, d, a->wq, d, 1, a->bq, d, d, n, 0);
    linear(k, d, source, d, a->wk, d, 1, a->bk, d, d, m, 0);
    linear(v, d, source, d, a->wv, d, 1, a->bv, d, d, m, 0);
    for (int i = 0; i < n * d; i++) q[i] *= (float)(a->scaling / LN2);
    for (int number = 0; number < a->heads; number++) {
        Head head = head_of(a, g, number, &chances);
        V *to = out + number * width;
        if (!a->chosen) {
            attend(&head, to, d, space);
            continue;
        }
        V *rows = space + ROWS * m, *attended = rows + count * width;
        choose(a, head.q, head.k, (I *)head.where, space);
        take_rows(rows, head.q, d, head.where, count, width);
        head.q = rows;
        head.qs = width;
        attend(&head, attended, width, space);
        lazy(a, to, head.v);
        put_rows(to, attended, d, head.where, count, width);
    }
    linear(normed, d, out, d, a->wo, d, 1, a->bo, d, d, n, 0);
    drop(&branch, 0, normed, normed, n * d);
    for (int i = 0; i < n * d; i++) normed[i] += x[i];
    norm(y, normed, a->deviation + g * n, a->gamma, a->beta, (float)a->eps, n, d);
    free(space);
    return 0;
}

static int backward_group(const Attention *a, int64_t g) {
    const int d = a->d, width = d / a->heads, n = a->queries, m = a->keys, count = attending(a), both = d * d + d;
    const V *x = a->x + g * n * d, *source = a->source + g * m * d, *out = a->out + g * n * d, *dy = a->dy + g * n * d;
    V *dx = a->dx + g * n * d, *dsource = a->itself ? dx : a->dsource + g * m * d;
    V *space = scratch(2 * (n + m) * d + 2 * BLOCK * m + 4 * count * width);
    if (!space) return 1;
    V *dq = space, *dk = dq + n * d, *dv = dk + m * d, *dout = dv + m * d, *p = dout + n * d, *s = p + BLOCK * m, *more = s + BLOCK * m;
    float *slot = a->slots + g * (4 * both + 2 * d);
    const Masks chances = masks_of(&a->chances, g), branch = masks_of(&a->branch, g);
    norm_back(dx, dy, a->normed + g * n * d, a->deviation + g * n, a->gamma, slot + 4 * both, slot + 4 * both + d, n, d);
    V *dbranch = dq; /* until the queries' own gradients are written there */
    drop(&branch, 0, dbranch, dx, n * d);
    outer(slot + 3 * both, slot + 3 * both + d * d, dbranch, d, out, d, d, d, n);
    linear(dout, d, dbranch, d, a->wo, 1, d, NULL, d, d, n, 0);
    memset(dk, 0, 2 * m * d * sizeof(V));
    if (a->chosen) memset(dq, 0, n * d * sizeof(V));
    for (int number = 0; number < a->heads; number++) {
        Head head = head_of(a, g, number, &chances);
        const int at = number * width;
        if (!a->chosen) {
            attend_back(&head, out + at, dout + at, d, dq + at, d, dk + at, dv + at, p, s);
            continue;
        }
        V *rows = more, *seen = rows + count * width, *of_out = seen + count * width, *of_rows = of_out + count * width;
        take_rows(rows, head.q, d, head.where, count, width);
        take_rows(seen, out + at, d, head.where, count, width);
        take_rows(of_out, dout + at, d, head.where, count, width);
        head.q = rows;
        head.qs = width;
        attend_back(&head, seen, of_out, width, of_rows, width, dk + at, dv + at, p, s);
        put_rows(dq + at, of_rows, d, head.where, count, width);
        memset(rows, 0, count * width * sizeof(V));
        put_rows(dout + at, rows, d, head.where, count, width); /* what is left came from the lazy ones */
        lazy_back(a, dout + at, dv + at);
    }
    for (int i = 0; i < n * d; i++) dq[i] *= (float)a->scaling;
    for (int i = 0; i < m * d; i++) dk[i] *= LN2;
    outer(slot, slot + d * d, dq, d, x, d, d, d, n);
    outer(slot + both, slot + both + d * d, dk, d, source, d, d, d, m);
    outer(slot + 2 * both, slot + 2 * both + d * d, dv, d, source, d, d, d, m);
    linear(dx, d, dq, d, a->wq, 1, d, NULL, d, d, n, 1);
    linear(dsource, d, dk, d, a->wk, 1, d, NULL, d, d, m, a->itself);
    linear(dsource, d, dv, d, a->wv, 1, d, NULL, d, d, m, 1);
    free(space);
    return 0;
}

int attention_forward(const Attention *a) {
    FOR_GROUPS(forward_group(a, g));
    return failed;
}

int attention_backward(const Attention *a) {
    FOR_GROUPS(backward_group(a, g));
    add_up(a->gradients, a->slots, a->groups, 4 * (a->d * a->d + a->d) + 2 * a->d);
    return failed;
}

int64_t attention_size(void) { return sizeof(Attention); }
