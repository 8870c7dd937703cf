// The vector part of attention: query rows of one kv head against a stretch of its cache, block by
// block with the running softmax of flash attention (arXiv 2205.14135).
//
// A few rows: lanes are elements of the head, and keys and values of 16 or 8 bits are converted in
// registers. The scales of 8-bit ones are multiplied into the scores and the weights, of which
// there are fewer than elements. Many rows: a block is converted once into scratch, and lanes are
// query rows, so that nothing is ever summed across lanes; see attention_columns.h.
#pragma once

#include <type_traits>

#include "cpu/attention_columns.h"
#include "cpu/convert_rows.h"

namespace tinychat {
namespace {

// From so many rows on they are worth a lane each.
constexpr int kManyRows = 9;

// A processor foresees the reading of a cache with short rows, but not that of longer ones four at
// a time: at 256 bytes a row it reads the keys at half its speed (Zen 4).
constexpr std::size_t kRowBytesWorthPrefetching = 256;

// out [n] = x turned by `half` angles and scaled; out may be x.
void rotate_row(const float* x, const float* cos, const float* sin, int half, int n, float scale,
                float* out) {
  for_vectors(half, [&](int i, int lanes) {
    const Floats a = load(x + i, lanes), b = load(x + half + i, lanes);
    const Floats c = load(cos + i, lanes) * scale, s = load(sin + i, lanes) * scale;
    store(out + i, a * c - b * s, lanes);
    store(out + half + i, b * c + a * s, lanes);
  });
  for_vectors(n - 2 * half, [&](int i, int lanes) {
    store(out + 2 * half + i, load(x + 2 * half + i, lanes) * scale, lanes);
  });
}

// Asks for n elements to be brought near, not all the way: the nearest cache has too few places for
// lines that are on their way.
template <class Element>
inline void prefetch(const Element* elements, int n) {
  constexpr int kLine = 64 / sizeof(Element);
  for (int i = 0; i < n; i += kLine) __builtin_prefetch(elements + i, 0, 2);
}

// out[r][j] = q[r] · k[j] for R rows and n keys. A group of four that is not full repeats the last
// key: the caller does not look at what it gave. `next`, if not null, is where keys will be read
// after these.
template <int R, class Element>
inline void score_rows(const float* q, int stride, const Rows<Element>& k, int n,
                       const Element* next, float* out) {
  for (int j = 0; j < n; j += 4) {
    if (next != nullptr) prefetch(next + static_cast<std::size_t>(j) * k.stride, 4 * k.stride);
    const Element* key[4];
    for (int c = 0; c < 4; ++c) key[c] = k.row(j + c < n ? j + c : n - 1);
    Floats sums[R][4] = {};
    for (int d = 0; d < k.width; d += kLanes) {
      Floats keys[4];
      for (int c = 0; c < 4; ++c) keys[c] = load(key[c] + d);
      for (int r = 0; r < R; ++r) {
        const Floats query = load(q + r * stride + d);
        for (int c = 0; c < 4; ++c) sums[r][c] += query * keys[c];
      }
    }
    for (int r = 0; r < R; ++r) {
      store_sums(out + r * kKeyBlock + j, sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
    }
  }
}

// Turns the scores of n keys from position `first` on into weights relative to the largest score
// seen so far, 0 for the keys outside begin..end, and rescales what the row gathered before.
inline void update_softmax(float* scores, int n, int first, int begin, int end, AttentionRow* row,
                           float* acc, int stride) {
  for (int i = 0; i < begin; ++i) scores[i] = 0.0f;
  for (int i = end; i < n; ++i) scores[i] = 0.0f;
  scores += begin;
  n = end - begin;
  if (n == 0) return;

  if (row->slope != 0.0f) {
    Floats distance;
    for (int lane = 0; lane < kLanes; ++lane) {
      distance[lane] = static_cast<float>(first + begin - row->position + lane);
    }
    for_vectors(n, [&](int i, int lanes) {
      const Floats bias = row->slope * (distance + static_cast<float>(i));
      store(scores + i, load(scores + i, lanes) + bias, lanes);
    });
  }
  Floats tops = all(row->largest);
  for_vectors(n, [&](int i, int lanes) { tops = max(load(scores + i, lanes, -kInfinity), tops); });
  const float top = max(tops);
  if (top != row->largest) {
    const float shrink = exp(all(row->largest - top))[0];
    row->largest = top;
    row->sum *= shrink;
    for (int d = 0; d < stride; d += kLanes) store(acc + d, load(acc + d) * shrink);
  }
  Floats total{};
  for_vectors(n, [&](int i, int lanes) {
    const Floats weights = exp(load(scores + i, lanes, -kInfinity) - top);
    total += weights;
    store(scores + i, weights, lanes);
  });
  row->sum += sum(total);
}

// The scales of n rows, for rows that have some.
template <class Element>
struct RowScales {
  static constexpr bool kAny = std::is_same<Element, Int8>::value;
  float scales[kAny ? kKeyBlock : 1];

  RowScales(const Rows<Element>& rows, int n) {
    if constexpr (kAny) {
      for (int j = 0; j < n; ++j) scales[j] = int8_scale(rows.row(j), rows.width);
    }
  }
  void multiply(float* x, int n) const {
    if constexpr (kAny) {
      for_vectors(n, [&](int i, int lanes) {
        store(x + i, load(x + i, lanes) * load(scales + i, lanes), lanes);
      });
    }
  }
};

// All rows of the tile against n keys, the first of which stands at position `first`; `next` as in
// score_rows.
template <class Element>
inline void attend_block(const AttentionTile& tile, const Rows<Element>& k, const Rows<Element>& v,
                         int first, int n, const Element* next) {
  const RowScales<Element> key_scales(k, n), value_scales(v, n);
  for_row_groups(tile.rows, [&](int r, auto group) {
    constexpr int R = decltype(group)::value;
    AttentionRow* rows = tile.row + r;
    float* scores = tile.scores + r * kKeyBlock;
    float* acc = tile.acc + r * tile.stride;
    const int seen =
        keys_up_to(rows[R - 1].position, first, n);  // positions do not fall from row to row
    if (seen == 0) return;
    score_rows<R>(tile.q + r * tile.stride, tile.stride, k, seen, r == 0 ? next : nullptr, scores);
    for (int i = 0; i < R; ++i) {
      const int end = keys_up_to(rows[i].position, first, n);
      const int begin = tile.window > 0 ? keys_up_to(rows[i].position - tile.window, first, n) : 0;
      key_scales.multiply(scores + i * kKeyBlock, seen);
      update_softmax(scores + i * kKeyBlock, seen, first, begin, end, rows + i,
                     acc + i * tile.stride, tile.stride);
      value_scales.multiply(scores + i * kKeyBlock, seen);
    }
    add_value_rows<R>(Weights{scores, kKeyBlock, 1}, v, seen, acc, tile.stride);
  });
}

// The rows of a tile's keys or values from `first` on.
template <class Element>
inline Rows<Element> cached_rows(const AttentionTile& tile, const void* start, int first) {
  const int dim = tile.head_dim;
  const int stride = static_cast<int>(row_bytes(tile.dtype, dim) / sizeof(Element));
  const Element* rows = static_cast<const Element*>(start);
  return {rows + static_cast<std::size_t>(first) * stride, dim, stride};
}

template <class Element>
inline void attend_elements(const AttentionTile& tile) {
  const int dim = tile.head_dim;
  const bool many = tile.rows >= kManyRows;
  const bool direct = dim % kLanes == 0 && !many;
  if (many) begin_columns(tile);
  for (int first = tile.begin; first < tile.end; first += kKeyBlock) {
    const int n = tile.end - first < kKeyBlock ? tile.end - first : kKeyBlock;
    const Rows<Element> k = cached_rows<Element>(tile, tile.keys, first);
    const Rows<Element> v = cached_rows<Element>(tile, tile.values, first);
    if (direct) {
      const bool ahead =
          first + kKeyBlock < tile.end && row_bytes(tile.dtype, dim) >= kRowBytesWorthPrefetching;
      attend_block(tile, k, v, first, n, ahead ? k.row(kKeyBlock) : nullptr);
      continue;
    }
    // Columns from head_dim to the stride stay zero from the tile's preparation.
    for (int j = 0; j < n; ++j) {
      read_row(tile.dtype, k.row(j), tile.key_block + j * tile.stride, dim);
      read_row(tile.dtype, v.row(j), tile.value_block + j * tile.stride, dim);
    }
    const Rows<float> keys{tile.key_block, tile.stride, tile.stride};
    const Rows<float> values{tile.value_block, tile.stride, tile.stride};
    if (many) {
      attend_columns(tile, keys, values, first, n);
    } else {
      attend_block<float>(tile, keys, values, first, n, nullptr);
    }
  }
}

void attend(const AttentionTile& tile) {
  switch (tile.dtype) {
    case DType::kFloat32:
      return attend_elements<float>(tile);
    case DType::kFloat16:
      return attend_elements<Float16>(tile);
    case DType::kBfloat16:
      return attend_elements<Bfloat16>(tile);
    case DType::kInt8:
      return attend_elements<Int8>(tile);
  }
}

}  // namespace
}  // namespace tinychat
