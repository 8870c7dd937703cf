// Attention of many query rows, a lane each: scores lie key by key, [kKeyBlock, rows], so that the
// softmax of 16 rows is a loop over keys with nothing to sum across lanes. Also what both ways of
// attending share: rows of keys and values, and the sum of values by weights.
#pragma once

#include <type_traits>

#include "cpu/vector_math.h"

namespace tinychat {
namespace {

// Rows that share one pass over a block: as many as the accumulators leave registers for.
constexpr int kRowsAtOnce = kLanes == 16 ? 4 : 2;
// Sums that stay in registers while values are added up.
constexpr int kAccumulators = kLanes == 16 ? 16 : 8;

// Rows of a cache or of scratch: `width` elements that are read, a multiple of kLanes, and `stride`
// from one row's start to the next one's.
template <class Element>
struct Rows {
  const Element* first;
  int width;
  int stride;

  const Element* row(int i) const { return first + static_cast<std::size_t>(i) * stride; }
};

// Weights of keys for query rows, in either order.
struct Weights {
  const float* first;
  int row_step;
  int key_step;

  float at(int row, int key) const { return first[row * row_step + key * key_step]; }
  Weights from_row(int row) const { return {first + row * row_step, row_step, key_step}; }
};

// acc[r][0..C vectors] += sum over j of weights(r, j) · v[j], from column d of v on.
template <int R, int C, class Element>
inline void add_values(const Weights& weights, const Rows<Element>& v, int d, int n, float* acc,
                       int stride) {
  Floats sums[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) sums[r][c] = load(acc + r * stride + c * kLanes);
  }
  for (int j = 0; j < n; ++j) {
    Floats values[C];
    for (int c = 0; c < C; ++c) {
      values[c] = load(v.row(j) + d + c * kLanes);
    }
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) sums[r][c] += weights.at(r, j) * values[c];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) store(acc + r * stride + c * kLanes, sums[r][c]);
  }
}

// The same for all columns of v. Memory is read fastest in order, so that whole rows, if they fit,
// come before more query rows at once.
template <int R, class Element>
inline void add_value_rows(const Weights& weights, const Rows<Element>& v, int n, float* acc,
                           int stride) {
  if constexpr (R > 2) {
    if (v.width >= 8 * kLanes) {
      add_value_rows<2>(weights, v, n, acc, stride);
      add_value_rows<R - 2>(weights.from_row(2), v, n, acc + 2 * stride, stride);
      return;
    }
  }
  int d = 0;
  if constexpr (8 * R <= kAccumulators) {
    for (; d + 8 * kLanes <= v.width; d += 8 * kLanes) {
      add_values<R, 8>(weights, v, d, n, acc + d, stride);
    }
  }
  for (; d + 4 * kLanes <= v.width; d += 4 * kLanes) {
    add_values<R, 4>(weights, v, d, n, acc + d, stride);
  }
  for (; d < v.width; d += kLanes) {
    add_values<R, 1>(weights, v, d, n, acc + d, stride);
  }
}

// Calls f(first row, number of rows as a type) for all rows, kRowsAtOnce at a time.
template <class F>
inline void for_row_groups(int rows, F f) {
  int r = 0;
  for (; r + kRowsAtOnce <= rows; r += kRowsAtOnce)
    f(r, std::integral_constant<int, kRowsAtOnce>{});
  if (rows - r == 3) return f(r, std::integral_constant<int, 3>{});
  if (rows - r == 2) return f(r, std::integral_constant<int, 2>{});
  if (rows - r == 1) return f(r, std::integral_constant<int, 1>{});
}

// How many of the n keys from position `first` on stand at most at this position.
inline int keys_up_to(int position, int first, int n) {
  const int keys = position + 1 - first;
  return keys < 0 ? 0 : (keys > n ? n : keys);
}

// --- many rows

// Vectors of query rows, and keys, that are scored at once.
constexpr int kRowVectors = kLanes == 16 ? 4 : 2;
constexpr int kKeysAtOnce = 4;

inline int padded_rows(const AttentionTile& tile) {
  return static_cast<int>(round_up(static_cast<std::size_t>(tile.rows), kLanes));
}

// Turns the tile's queries [rows, stride] into columns [stride, padded rows], padded with zeros.
inline void begin_columns(const AttentionTile& tile) {
  const int rows = padded_rows(tile);
  for (int d = 0; d < tile.stride; ++d) {
    float* column = tile.columns + d * rows;
    for (int r = 0; r < tile.rows; ++r) column[r] = tile.q[r * tile.stride + d];
    for (int r = tile.rows; r < rows; ++r) column[r] = 0.0f;
  }
}

// scores[j][0..V vectors] = columns · k[j] for n keys. A group of keys that is not full repeats the
// last one: nobody looks at what it gave.
template <int V>
inline void score_columns(const float* columns, int rows, const Rows<float>& k, int n,
                          float* scores) {
  for (int j = 0; j < n; j += kKeysAtOnce) {
    const float* key[kKeysAtOnce];
    for (int c = 0; c < kKeysAtOnce; ++c) key[c] = k.row(j + c < n ? j + c : n - 1);
    Floats sums[kKeysAtOnce][V] = {};
    for (int d = 0; d < k.width; ++d) {
      Floats queries[V];
      for (int v = 0; v < V; ++v) queries[v] = load(columns + d * rows + v * kLanes);
      for (int c = 0; c < kKeysAtOnce; ++c) {
        for (int v = 0; v < V; ++v) sums[c][v] += key[c][d] * queries[v];
      }
    }
    for (int c = 0; c < kKeysAtOnce; ++c) {
      for (int v = 0; v < V; ++v) store(scores + (j + c) * rows + v * kLanes, sums[c][v]);
    }
  }
}

// One vector of query rows while a block is attended to. Rows that only fill the vector stand at
// position -1: they see nothing.
struct RowLanes {
  Floats position;
  Floats slope;
  Floats largest;
  Floats sum;
  int least;  // of the positions
  int most;

  RowLanes(const AttentionRow* rows, int n) : least(n < kLanes ? -1 : rows[0].position) {
    float lanes[4][kLanes];
    for (int i = 0; i < kLanes; ++i) {
      const AttentionRow row = i < n ? rows[i] : AttentionRow{-1, 0.0f, -kInfinity, 0.0f};
      lanes[0][i] = static_cast<float>(row.position);
      lanes[1][i] = row.slope;
      lanes[2][i] = row.largest;
      lanes[3][i] = row.sum;
    }
    position = load(lanes[0]);
    slope = load(lanes[1]);
    largest = load(lanes[2]);
    sum = load(lanes[3]);
    most = rows[n - 1].position;
  }

  void save(AttentionRow* rows, int n) const {
    for (int i = 0; i < n; ++i) {
      rows[i].largest = largest[i];
      rows[i].sum = sum[i];
    }
  }
};

// Turns the scores of n keys from position `first` on into weights relative to the largest score
// seen so far, 0 for hidden keys; returns what each row's earlier sums are to be multiplied by.
inline Floats update_lanes(float* scores, int rows, int n, int first, int window, RowLanes* lanes) {
  const bool biased = any(lanes->slope != Floats{});
  const bool masked = first + n - 1 > lanes->least || (window > 0 && first <= lanes->most - window);
  Floats top = lanes->largest;
  for (int j = 0; j < n; ++j) {
    Floats score = load(scores + j * rows);
    const Floats distance = static_cast<float>(first + j) - lanes->position;
    if (biased) score += lanes->slope * distance;
    if (masked) {
      score = distance > 0.0f ? all(-kInfinity) : score;
      if (window > 0) score = distance > static_cast<float>(-window) ? score : all(-kInfinity);
    }
    store(scores + j * rows, score);
    top = max(score, top);
  }
  // Where nothing was seen yet, any number keeps infinities from meeting.
  const Floats base = top == -kInfinity ? Floats{} : top;
  const Floats shrink = exp(lanes->largest - base);
  Floats total{};
  for (int j = 0; j < n; ++j) {
    const Floats weights = exp(load(scores + j * rows) - base);
    total += weights;
    store(scores + j * rows, weights);
  }
  lanes->largest = top;
  lanes->sum = lanes->sum * shrink + total;
  return shrink;
}

// All rows of the tile against n keys, the first of which stands at position `first`.
inline void attend_columns(const AttentionTile& tile, const Rows<float>& k, const Rows<float>& v,
                           int first, int n) {
  const int rows = padded_rows(tile);
  // Of the row groups below: weights must be there for every key that any of its rows sees.
  const auto last_row = [&](int r, int count) {
    return r + count < tile.rows ? r + count - 1 : tile.rows - 1;
  };
  for (int r = 0; r < rows; r += kRowVectors * kLanes) {
    const int seen = keys_up_to(tile.row[last_row(r, kRowVectors * kLanes)].position, first, n);
    if (seen == 0) continue;
    float* scores = tile.scores + r;
    if (rows - r >= kRowVectors * kLanes) {
      score_columns<kRowVectors>(tile.columns + r, rows, k, seen, scores);
    } else {
      for (int c = 0; r + c < rows; c += kLanes) {
        score_columns<1>(tile.columns + r + c, rows, k, seen, scores + c);
      }
    }
    for (int c = 0; c < kRowVectors * kLanes && r + c < rows; c += kLanes) {
      AttentionRow* row = tile.row + r + c;
      const int count = tile.rows - r - c < kLanes ? tile.rows - r - c : kLanes;
      RowLanes lanes(row, count);
      const Floats shrink = update_lanes(scores + c, rows, seen, first, tile.window, &lanes);
      lanes.save(row, count);
      for (int i = 0; i < count; ++i) {
        if (shrink[i] == 1.0f) continue;
        float* acc = tile.acc + (r + c + i) * tile.stride;
        for (int d = 0; d < tile.stride; d += kLanes) store(acc + d, load(acc + d) * shrink[i]);
      }
    }
  }
  for_row_groups(tile.rows, [&](int r, auto group) {
    constexpr int R = decltype(group)::value;
    const int seen = keys_up_to(tile.row[r + R - 1].position, first, n);
    const Weights weights{tile.scores + r, 1, rows};
    add_value_rows<R>(weights, v, seen, tile.acc + r * tile.stride, tile.stride);
  });
}

}  // namespace
}  // namespace tinychat
