/* Informer's last decoder layer at the newest position, a sample path in each lane. */
#include "simd.h"

/* Mirrored in native.py. `groups` groups of LANES of the `paths`. */
typedef struct {
    int64_t groups, threads, paths, length, steps, ways, heads, width, active, drawn;
    const float *table; /* [paths][steps][ways][4 d]: query, key, value, input */
    const int64_t *way; /* [paths][length] */
    const int64_t *seen;
    const float *times; /* [drawn]: the keys that queries are measured by, and how often each was drawn, over the number of keys */
    float *branch, *input; /* [paths][d] */
} Newest;

/* Queries, keys and values of a group's paths, to x[length][3 d]. */
static void gather(const Newest *a, int64_t g, V *x) {
    const int64_t d = a->heads * a->width;
    for (int64_t l = 0; l < LANES; l++) {
        const int64_t path = g * LANES + l < a->paths ? g * LANES + l : a->paths - 1;
        for (int64_t s = 0; s < a->length; s++) {
            const float *from = a->table + ((path * a->steps + s) * a->ways + a->way[path * a->length + s]) * 4 * d;
            float *to = (float *)(x + s * 3 * d) + l;
            for (int64_t c = 0; c < 3 * d; c++) to[c * LANES] = from[c];
            if (s == a->length - 1) memcpy(a->input + path * d, from + 3 * d, d * sizeof(float));
        }
    }
}

/* Whether the newest query is among the active ones. */
static I attends(const Newest *a, const V *query, const V *key, int row) {
    const int length = a->length, width = a->width;
    V mean[WIDEST], last = {0};
    I before = {0};
    for (int c = 0; c < width; c++) {
        mean[c] = (V){0};
        for (int i = 0; i < a->drawn; i++) mean[c] += key[a->seen[i] * row + c] * a->times[i];
    }
    for (int s = length - 1; s >= 0; s--) {
        V most = all(-1e30f), middle = {0};
        for (int i = 0; i < a->drawn; i++) {
            const V *k = key + a->seen[i] * row;
            V sum = query[s * row] * k[0];
            for (int c = 1; c < width; c++) sum += query[s * row + c] * k[c];
            most = larger(sum, most);
        }
        for (int c = 0; c < width; c++) middle += query[s * row + c] * mean[c];
        if (s == length - 1)
            last = most - middle;
        else
            before -= most - middle > last;
    }
    return before < (int32_t)a->active;
}

static int newest(const Newest *a, int64_t g) {
    const int length = a->length, d = a->heads * a->width, row = 3 * d;
    V *x = scratch((size_t)length * (row + 1)), *chance = x + length * row;
    if (!x) return 1;
    gather(a, g, x);
    for (int head = 0; head < a->heads; head++) {
        const V *query = x + head * a->width, *key = query + d, *value = key + d, *own = query + (length - 1) * row;
        V most = all(-1e30f), total = {0};
        for (int s = 0; s < length; s++) {
            V sum = own[0] * key[s * row];
            for (int c = 1; c < a->width; c++) sum += own[c] * key[s * row + c];
            chance[s] = sum;
            most = larger(sum, most);
        }
        for (int s = 0; s < length; s++) {
            chance[s] = power2(chance[s] - most);
            total += chance[s];
        }
        I attending = (I){0} == 0;
        if (a->active < a->length) attending = attends(a, query, key, row);
        for (int c = 0; c < a->width; c++) {
            V seen = {0}, sum = {0};
            for (int s = 0; s < length; s++) {
                seen += chance[s] * value[s * row + c];
                sum += value[s * row + c];
            }
            V out = pick(attending, seen / total, sum);
            for (int l = 0; l < LANES && g * LANES + l < a->paths; l++) a->branch[(g * LANES + l) * d + head * a->width + c] = out[l];
        }
    }
    free(x);
    return 0;
}

int newest_forward(const Newest *a) {
    FOR_GROUPS(newest(a, g));
    return failed;
}

int64_t newest_size(void) { return sizeof(Newest); }
