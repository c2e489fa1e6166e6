/* Softmax attention of one head, forward and backward, in powers of 2. */
#ifndef HEAD_H
#define HEAD_H

#include "simd.h"

#define LN2 0.69314718f
#define HIDDEN -1e30f
#define ROWS 2   /* queries at a time */
#define BLOCK 16 /* queries whose probabilities are kept for the keys' gradients */

enum { EVERYTHING, PAST };

/* A head's attention. */
typedef struct {
    const V *q, *k, *v;
    int qs, ks, queries, keys, width, causal;
    const I *where;
    V *most, *share;
    const Masks *masks;
    uint32_t place;
} Head;

INLINE int visible(const Head *head, int end) { return head->causal == PAST && !head->where && end < head->keys ? end : head->keys; }

/* Scores of `rows` queries from `first` on, to s[row][count]. */
INLINE void scores(const Head *head, V *s, int first, const int rows, int count, const int width) {
    const V *q = head->q + (ptrdiff_t)first * head->qs;
    V a[ROWS][WIDEST];
    for (int j = 0; j < rows; j++)
        for (int c = 0; c < width; c++) a[j][c] = q[j * head->qs + c];
    for (int key = 0; key < count; key++) {
        const V *k = head->k + (ptrdiff_t)key * head->ks;
        for (int j = 0; j < rows; j++) {
            V sum = a[j][0] * k[0];
            for (int c = 1; c < width; c++) sum += a[j][c] * k[c];
            s[j * count + key] = sum;
        }
    }
    if (head->causal != PAST) return;
    for (int j = 0; j < rows; j++) {
        if (head->where)
            for (int key = 0; key < count; key++) s[j * count + key] = pick(head->where[first + j] >= key, s[j * count + key], all(HIDDEN));
        else
            for (int key = first + j + 1; key < count; key++) s[j * count + key] = all(HIDDEN);
    }
}

INLINE void attend_rows(const Head *head, V *out, int os, V *s, int first, const int rows, const int width) {
    const int count = visible(head, first + rows);
    scores(head, s, first, rows, count, width);
    for (int j = 0; j < rows; j++) {
        V *row = s + j * count, most = row[0], total = {0};
        for (int key = 1; key < count; key++) most = larger(row[key], most);
        for (int key = 0; key < count; key++) {
            row[key] = power2(row[key] - most);
            total += row[key];
        }
        head->most[first + j] = most;
        head->share[first + j] = 1.0f / total;
        drop(head->masks, head->place + (first + j) * places(head->keys), row, row, count);
    }
    V sum[ROWS][WIDEST];
    for (int j = 0; j < rows; j++)
        for (int c = 0; c < width; c++) sum[j][c] = (V){0};
    for (int key = 0; key < count; key++) {
        const V *v = head->v + (ptrdiff_t)key * head->ks;
        for (int j = 0; j < rows; j++)
            for (int c = 0; c < width; c++) sum[j][c] += s[j * count + key] * v[c];
    }
    for (int j = 0; j < rows; j++)
        for (int c = 0; c < width; c++) out[(first + j) * os + c] = sum[j][c] * head->share[first + j];
}

INLINE void attend_head(const Head *head, V *out, int os, V *s, const int width) {
    int first = 0;
    for (; first + ROWS <= head->queries; first += ROWS) attend_rows(head, out, os, s, first, ROWS, width);
    for (; first < head->queries; first++) attend_rows(head, out, os, s, first, 1, width);
}

/* Probabilities after dropout to p[row][count], the scores' gradients (over ln 2 for powers of 2) to s, the queries' to dq. */
INLINE void back_rows(const Head *head, const V *out, const V *dout, int os, V *dq, int dqs, V *p, V *s, int first, const int rows, int count,
                      const int width) {
    scores(head, s, first, rows, count, width);
    V g[ROWS][WIDEST], sum[ROWS][WIDEST], all_of[ROWS];
    for (int j = 0; j < rows; j++) {
        all_of[j] = (V){0};
        for (int c = 0; c < width; c++) {
            g[j][c] = dout[(first + j) * os + c];
            all_of[j] += g[j][c] * out[(first + j) * os + c];
            sum[j][c] = (V){0};
        }
    }
    for (int j = 0; j < rows; j++) {
        const V most = head->most[first + j], share = head->share[first + j];
        for (int key = 0; key < count; key++) s[j * count + key] = power2(s[j * count + key] - most) * share;
        drop(head->masks, head->place + (first + j) * places(head->keys), p + j * count, s + j * count, count);
    }
    for (int key = 0; key < count; key++) {
        const V *v = head->v + (ptrdiff_t)key * head->ks;
        for (int j = 0; j < rows; j++) {
            V of_chance = g[j][0] * v[0];
            for (int c = 1; c < width; c++) of_chance += g[j][c] * v[c];
            s[j * count + key] = p[j * count + key] * of_chance - s[j * count + key] * all_of[j];
        }
    }
    for (int key = 0; key < count; key++) {
        const V *k = head->k + (ptrdiff_t)key * head->ks;
        for (int j = 0; j < rows; j++)
            for (int c = 0; c < width; c++) sum[j][c] += s[j * count + key] * k[c];
    }
    for (int j = 0; j < rows; j++)
        for (int c = 0; c < width; c++) dq[(first + j) * dqs + c] = sum[j][c];
}

INLINE void back_head(const Head *head, const V *out, const V *dout, int os, V *dq, int dqs, V *dk, V *dv, V *p, V *s, const int width) {
    for (int first = 0; first < head->queries; first += BLOCK) {
        const int end = first + BLOCK < head->queries ? first + BLOCK : head->queries, count = visible(head, end);
        int row = first;
        for (; row + ROWS <= end; row += ROWS)
            back_rows(head, out, dout, os, dq, dqs, p + (row - first) * count, s + (row - first) * count, row, ROWS, count, width);
        for (; row < end; row++)
            back_rows(head, out, dout, os, dq, dqs, p + (row - first) * count, s + (row - first) * count, row, 1, count, width);
        for (int key = 0; key < count; key++) {
            V *ok = dk + (ptrdiff_t)key * head->ks, *ov = dv + (ptrdiff_t)key * head->ks, of_k[WIDEST], of_v[WIDEST];
            for (int c = 0; c < width; c++) {
                of_k[c] = ok[c];
                of_v[c] = ov[c];
            }
            for (int j = 0; j < end - first; j++) {
                const V *q = head->q + (first + j) * head->qs, *g = dout + (first + j) * os;
                for (int c = 0; c < width; c++) {
                    of_k[c] += s[j * count + key] * q[c];
                    of_v[c] += p[j * count + key] * g[c];
                }
            }
            for (int c = 0; c < width; c++) {
                ok[c] = of_k[c];
                ov[c] = of_v[c];
            }
        }
    }
}

/* The common widths of a head are known to the compiler. */
#define BY_WIDTH(width, call)                                                                                                         \
    switch (width) {                                                                                                                  \
    case 4: { enum { W = 4 }; call; break; }                                                                                          \
    case 8: { enum { W = 8 }; call; break; }                                                                                          \
    case 16: { enum { W = 16 }; call; break; }                                                                                        \
    default: { const int W = width; call; break; }                                                                                    \
    }

static void attend(const Head *head, V *out, int os, V *s) { BY_WIDTH(head->width, attend_head(head, out, os, s, W)) }

static void attend_back(const Head *head, const V *out, const V *dout, int os, V *dq, int dqs, V *dk, V *dv, V *p, V *s) {
    BY_WIDTH(head->width, back_head(head, out, dout, os, dq, dqs, dk, dv, p, s, W))
}

#endif
