// attn_decode: attention of a few tokens that follow each other, each as if it came alone.
//
//   out[t, h] = sum over j of softmax_j(scale q[t, h] k[j] + alibi[h] (j - p)) v[j],
//     p = start + t, j from 0 (with a window from p - window + 1) to p
//
//   qkv [T, (H + 2G) D] float32, keys and values [G, S, D] float16 or [G, S, D + 4] int8 (the
//   scale behind the codes), out [T, H D] float32. q and k are turned by the angles of their
//   position first; rows start..start + T - 1 of the cache are written, none of them is read.
//
// Grid: (kv heads x tiles of query heads, tokens, splits), blocks of 128 threads. The query heads
// of a kv head are rows of one tile, up to 8, so that the cache is read once for all of them; what
// is more takes further tiles. The keys that a token sees are cut into at most as many stretches as
// there are splits; where they are few, the splits left over end at once. Which keys a stretch has
// depends on the position, the window and the number of splits alone, and so do the bits of a row.
// The position is read on the card: a captured launch serves every token.
//
// In a block a team of 8, 16 or 32 lanes shares a key, each lane with 8 of its elements: 16 bytes
// of float16. A lane asks for 4 keys and 4 values, then multiplies. New rows,
// the token's own and those of earlier tokens of the call, are made by every block that needs them,
// in shared memory; the block with the newest stretch writes the token's own to the cache. What
// teams have gathered is joined in shared memory, what splits have in global memory by the block
// that comes last, both in a fixed order. Head sizes that do not divide into eights (int8: fours),
// and caches that are not aligned, go element by element, a tile a head.
//
// Bound: reading the cache once, from some hundred positions on; before that the trips to memory
// one after the other: position, q and angles, keys and values, the join. For 8 rows the arithmetic
// (16 multiply-adds, 2 conversions, 16 shuffles over kLanes an element pair) is near that bound on
// cards with much bandwidth. Not yet run on a card; the number of keys in flight and the least
// stretch are guesses.
#include "cuda/cache_rows.cuh"
#include "cuda/elements.cuh"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kInFlight = 4;       // keys, and as many values, that a lane waits for at a time
constexpr int kLeastStretch = 64;  // keys that are not worth another block
constexpr int kMostSplits = 128;
constexpr int kMostDim = 256;
constexpr int kMostTokens = 8;
constexpr int kStateFloats = 4;  // behind gathered sums: largest score, sum of weights, two unused
constexpr float kLog2E = 1.44269504f;

// How lanes share a row of the cache. Piece i of a lane is kWide neighbouring elements, one load.
template <class T, int kWideElements, int kPiecesOfLane, int kLanesOfTeam>
struct Layout {
  using Element = T;
  static constexpr int kWide = kWideElements, kPieces = kPiecesOfLane, kLanes = kLanesOfTeam;
  static constexpr int kCount = kWide * kPieces;  // elements of a lane
  static constexpr int kSpan = kCount * kLanes;   // of a team, those beyond the head among them
  static constexpr int kTeams = kThreads / kLanes, kTeamsOfWarp = kWarpLanes / kLanes;
  static constexpr int kStep = kWide < 4 ? kWide : 4;  // floats that one instruction moves

  static __device__ __forceinline__ int piece(int i) {
    return (i * kLanes + lane_index() % kLanes) * kWide;
  }
  static __device__ __forceinline__ int team() { return static_cast<int>(threadIdx.x) / kLanes; }
};

// The keys begin..end - 1, one of `count` stretches; the last holds the newest key.
struct Stretch {
  int begin, end, count;
};

__device__ __forceinline__ Stretch stretch_of(int position, int window, int splits, int split) {
  const int first = window > 0 && position >= window ? position + 1 - window : 0;
  const int keys = position + 1 - first;
  const int each = ceil_div(ceil_div(keys, kLeastStretch), splits) * kLeastStretch;
  const int begin = first + split * each;
  const int end = begin + each < position + 1 ? begin + each : position + 1;
  return {begin, end, ceil_div(keys, each)};
}

// The rows of a head's keys or values: those that the cache had before the launch, and behind them
// the new ones, in shared memory.
template <class T>
struct Rows {
  const T* cached;
  const T* fresh;
  int first_fresh;  // position
  int width, fresh_width;

  __device__ __forceinline__ const T* at(int position) const {
    const bool old = position < first_fresh;
    const std::size_t i = static_cast<std::size_t>(old ? position : position - first_fresh);
    return (old ? cached : fresh) + i * static_cast<std::size_t>(old ? width : fresh_width);
  }
};

// A fresh row begins at a multiple of 16 bytes, as cached ones may.
template <class T>
__host__ __device__ constexpr int fresh_width(int dim) {
  constexpr int kAligned = 16 / static_cast<int>(sizeof(T));
  return ceil_div(row_width<T>(dim), kAligned) * kAligned;
}

// A lane's part of a row, as it comes from memory.
template <class L>
struct RawRow {
  Pack<typename L::Element, L::kWide> piece[L::kPieces];
  float scale;
};

// Where `there` is false nothing is read, and all is zero.
template <class L>
__device__ __forceinline__ RawRow<L> load_row(const typename L::Element* row, int dim, bool there) {
  using Raw = Pack<typename L::Element, L::kWide>;
  RawRow<L> raw = {};
  if (!there) return raw;
#pragma unroll
  for (int i = 0; i < L::kPieces; ++i) {
    if (L::piece(i) < dim) raw.piece[i] = *reinterpret_cast<const Raw*>(row + L::piece(i));
  }
  if constexpr (std::is_same_v<typename L::Element, std::int8_t>) {
    if constexpr (L::kWide % sizeof(float) == 0) {
      raw.scale = *reinterpret_cast<const float*>(row + dim);
    } else {
      memcpy(&raw.scale, row + dim, sizeof(float));
    }
  }
  return raw;
}

// Without the scale.
template <class L>
__device__ __forceinline__ Floats<L::kCount> numbers_of(const RawRow<L>& raw) {
  Floats<L::kCount> numbers;
#pragma unroll
  for (int i = 0; i < L::kCount; ++i) {
    numbers.at[i] = to_float(raw.piece[i / L::kWide].at[i % L::kWide]);
  }
  return numbers;
}

// A weight relative to that of the largest score. Scores are in units of log 2.
__device__ __forceinline__ float weight_of(float score, float largest) {
  return score == -INFINITY ? 0.0f : exp2f(score - largest);
}

// What a team has gathered for the rows of a tile: a lane's part of the weighted sums of values.
template <class L, int kRows>
struct Gathered {
  float sums[kRows][L::kCount];
  float largest[kRows], weights[kRows];

  __device__ __forceinline__ Gathered() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      largest[r] = -INFINITY;
      weights[r] = 0.0f;
#pragma unroll
      for (int i = 0; i < L::kCount; ++i) sums[r][i] = 0.0f;
    }
  }
};

// Where things are in shared memory, in floats. What stands before kBehind is used until the keys
// are done with, then the gathered rows take its place.
template <class L, int kRows>
struct Shared {
  static constexpr int kSlopes = kRows * L::kSpan;  // behind q
  static constexpr int kFresh = kSlopes + 8;

  int dim;

  __host__ __device__ constexpr int fresh_rows() const {  // of keys, then of values
    return 2 * kMostTokens * fresh_width<typename L::Element>(dim);
  }
  __host__ __device__ constexpr int scratch() const {
    const int before = kFresh + fresh_rows() * static_cast<int>(sizeof(typename L::Element)) / 4;
    const int gathered = L::kTeams * kRows * (dim + kStateFloats);
    return before > gathered ? before : gathered;
  }
  // A factor for every part and row, a state for every row, and the flag of the last block.
  __host__ __device__ constexpr int end(int splits) const {
    return scratch() + kRows * (splits > L::kTeams ? splits : L::kTeams) + 2 * kRows + 1;
  }
};

// out [kRows, kSpan]: queries, turned and scaled; zero beyond the head and the rows.
template <class L, int kRows>
__device__ __forceinline__ void prepare_queries(const AttnDecodeArgs& args, const float* q,
                                                const Angles& angles, int rows, float* out) {
  const int dim = args.tokens.head_dim;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * L::kSpan; i += kThreads) {
    const int row = i / L::kSpan, d = i % L::kSpan;
    const bool inside = row < rows && d < dim;
    out[i] = inside ? rotated(q + row * dim, angles, d) * (args.scale * kLog2E) : 0.0f;
  }
}

// Makes the rows of the new keys and values in `stretch`, and appends those at `position` to the
// cache if this block is to.
template <class T>
__device__ __forceinline__ void make_fresh_rows(const AttnDecodeArgs& args, const Stretch& stretch,
                                                int kv_head, int position, bool appends,
                                                T* fresh_keys, T* fresh_values) {
  const NewTokens& tokens = args.tokens;
  const int dim = tokens.head_dim, width = row_width<T>(dim);
  const int start = *tokens.start;
  const int first = stretch.begin > start ? stretch.begin : start;
  for (int i = warp_index(); i < 2 * (stretch.end - first); i += kWarps) {
    const bool is_key = i % 2 == 0;
    const int at = first + i / 2, token = at - start;
    const int head = tokens.heads + kv_head + (is_key ? 0 : tokens.kv_heads);
    const float* x = head_of(tokens, token, head);
    const Angles angles = is_key ? angles_at(args.rotation, at) : Angles{nullptr, nullptr, 0};
    write_row(x, angles, dim, (is_key ? fresh_keys : fresh_values) + token * fresh_width<T>(dim));
    if (!appends || at != position) continue;
    void* rows = is_key ? args.cache.keys : args.cache.values;
    T* cached = first_row<T>(rows, tokens, args.cache.capacity, kv_head);
    write_row(x, angles, dim, cached + static_cast<std::size_t>(at) * width);
  }
}

// Scores of a team's keys, the same in all its lanes.
template <class L, int kRows>
__device__ __forceinline__ void score(const RawRow<L> (&keys)[kInFlight], const float* queries,
                                      float (&scores)[kRows][kInFlight]) {
  Floats<L::kCount> key[kInFlight];
#pragma unroll
  for (int n = 0; n < kInFlight; ++n) key[n] = numbers_of<L>(keys[n]);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float sums[kInFlight] = {};
#pragma unroll
    for (int i = 0; i < L::kCount; i += L::kStep) {
      const int at = r * L::kSpan + L::piece(i / L::kWide) + i % L::kWide;
      const Floats<L::kStep> query = load<L::kStep>(queries + at);
#pragma unroll
      for (int n = 0; n < kInFlight; ++n) {
#pragma unroll
        for (int e = 0; e < L::kStep; ++e) sums[n] += query.at[e] * key[n].at[i + e];
      }
    }
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) {
      scores[r][n] = warp_sum<L::kLanes>(sums[n]);
      if constexpr (std::is_same_v<typename L::Element, std::int8_t>) {
        scores[r][n] *= keys[n].scale;
      }
    }
  }
}

// Turns scores into weights relative to the largest so far, which what was gathered is brought to.
template <class L, int kRows>
__device__ __forceinline__ void update_softmax(float (&scores)[kRows][kInFlight],
                                               Gathered<L, kRows>& gathered) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float largest = gathered.largest[r];
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) largest = fmaxf(largest, scores[r][n]);
    const float shrink = weight_of(gathered.largest[r], largest);
    gathered.largest[r] = largest;
    gathered.weights[r] *= shrink;
#pragma unroll
    for (int i = 0; i < L::kCount; ++i) gathered.sums[r][i] *= shrink;
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) {
      scores[r][n] = weight_of(scores[r][n], largest);
      gathered.weights[r] += scores[r][n];
    }
  }
}

template <class L, int kRows>
__device__ __forceinline__ void add_values(const RawRow<L> (&values)[kInFlight],
                                           const float (&weights)[kRows][kInFlight],
                                           Gathered<L, kRows>& gathered) {
#pragma unroll
  for (int n = 0; n < kInFlight; ++n) {
    const Floats<L::kCount> value = numbers_of<L>(values[n]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float weight = weights[r][n];
      if constexpr (std::is_same_v<typename L::Element, std::int8_t>) weight *= values[n].scale;
#pragma unroll
      for (int i = 0; i < L::kCount; ++i) gathered.sums[r][i] += weight * value.at[i];
    }
  }
}

// All keys of a stretch that fall to this thread's team. Teams of a warp stay together, so that
// those with nothing left take part in the shuffles.
template <class L, int kRows>
__device__ __forceinline__ Gathered<L, kRows> attend(const Rows<typename L::Element>& keys,
                                                     const Rows<typename L::Element>& values,
                                                     const Stretch& stretch, int position, int dim,
                                                     const float* queries, const float* slopes) {
  Gathered<L, kRows> gathered;
  const int of_team = L::team() % L::kTeamsOfWarp;
  for (int first = stretch.begin + warp_index() * L::kTeamsOfWarp; first < stretch.end;
       first += kInFlight * L::kTeams) {
    RawRow<L> key[kInFlight], value[kInFlight];
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) {
      const int at = first + of_team + n * L::kTeams;
      key[n] = load_row<L>(keys.at(at), dim, at < stretch.end);
    }
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) {
      const int at = first + of_team + n * L::kTeams;
      value[n] = load_row<L>(values.at(at), dim, at < stretch.end);
    }
    float scores[kRows][kInFlight];
    score<L, kRows>(key, queries, scores);
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) {
      const int at = first + of_team + n * L::kTeams;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float biased = scores[r][n] + slopes[r] * static_cast<float>(at - position);
        scores[r][n] = at < stretch.end ? biased : -INFINITY;
      }
    }
    update_softmax(scores, gathered);
    add_values(value, scores, gathered);
  }
  return gathered;
}

// rows [kTeams, kRows, dim + kStateFloats]
template <class L, int kRows>
__device__ __forceinline__ void store_gathered(const Gathered<L, kRows>& gathered, int dim,
                                               float* rows) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float* row = rows + (L::team() * kRows + r) * (dim + kStateFloats);
#pragma unroll
    for (int i = 0; i < L::kCount; i += L::kStep) {
      const int at = L::piece(i / L::kWide) + i % L::kWide;
      Floats<L::kStep> sums;
#pragma unroll
      for (int e = 0; e < L::kStep; ++e) sums.at[e] = gathered.sums[r][i + e];
      if (at < dim) store(row + at, sums);
    }
    if (lane_index() % L::kLanes == 0) {
      row[dim] = gathered.largest[r];
      row[dim + 1] = gathered.weights[r];
    }
  }
}

// What `parts` parts have gathered for `rows` rows, brought to a common maximum and added up: part
// p of row r is at from + p part_stride + r row_stride. Hands each element to
// emit(row, d, sum, largest score, sum of weights). `scratch` is shared memory.
template <class Emit>
__device__ __forceinline__ void join(const float* from, int part_stride, int row_stride, int parts,
                                     int rows, int dim, float* scratch, Emit emit) {
  float* factors = scratch;                // [rows, parts]
  float* states = scratch + rows * parts;  // [rows, 2]
  for (int row = warp_index(); row < rows; row += kWarps) {
    const float* state = from + row * row_stride + dim;
    float largest = -INFINITY, weights = 0.0f;
    for (int p = lane_index(); p < parts; p += kWarpLanes) {
      largest = fmaxf(largest, state[p * part_stride]);
    }
    largest = warp_max(largest);
    for (int p = lane_index(); p < parts; p += kWarpLanes) {
      const float factor = weight_of(state[p * part_stride], largest);
      factors[row * parts + p] = factor;
      weights += factor * state[p * part_stride + 1];
    }
    weights = warp_sum(weights);
    if (lane_index() == 0) {
      states[2 * row] = largest;
      states[2 * row + 1] = weights;
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < rows * dim; i += kThreads) {
    const int row = i / dim, d = i % dim;
    const float* part = from + row * row_stride + d;
    float sum = 0.0f;
#pragma unroll 4
    for (int p = 0; p < parts; ++p) sum += factors[row * parts + p] * part[p * part_stride];
    emit(row, d, sum, states[2 * row], states[2 * row + 1]);
  }
}

template <class L, int kRows>
__global__ void __launch_bounds__(kThreads, 2) attn_decode_kernel(AttnDecodeArgs args) {
  using T = typename L::Element;
  pdl_launch();
  pdl_wait();
  const NewTokens& tokens = args.tokens;
  const int dim = tokens.head_dim, group = tokens.heads / tokens.kv_heads;
  const int tiles = ceil_div(group, kRows);
  const int kv_head = static_cast<int>(blockIdx.x) / tiles;
  const int tile = static_cast<int>(blockIdx.x) % tiles;
  const int rows = group - tile * kRows < kRows ? group - tile * kRows : kRows;
  const int head = kv_head * group + tile * kRows;
  const int token = static_cast<int>(blockIdx.y), split = static_cast<int>(blockIdx.z);
  const int position = *tokens.start + token;
  float* out = args.out + (static_cast<std::size_t>(token) * tokens.heads + head) * dim;

  if (position < 0 || position >= args.cache.capacity) {  // the host cannot check it
    const int count = split == 0 ? rows * dim : 0;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) out[i] = NAN;
    return;
  }
  const Stretch stretch = stretch_of(position, args.window, args.splits, split);
  if (split >= stretch.count) return;

  const Shared<L, kRows> layout{dim};
  float* shared = shared_memory<float>();
  float* queries = shared;
  float* slopes = shared + layout.kSlopes;
  T* fresh_keys = reinterpret_cast<T*>(shared + layout.kFresh);
  T* fresh_values = fresh_keys + layout.fresh_rows() / 2;
  float* scratch = shared + layout.scratch();
  auto* flag = reinterpret_cast<unsigned*>(shared + layout.end(args.splits) - 1);

  const float* q = head_of(tokens, token, head);
  prepare_queries<L, kRows>(args, q, angles_at(args.rotation, position), rows, queries);
  if (threadIdx.x < kRows) {
    const int row = static_cast<int>(threadIdx.x);
    const bool biased = args.alibi != nullptr && row < rows;
    slopes[row] = biased ? args.alibi[head + row] * kLog2E : 0.0f;
  }
  make_fresh_rows(args, stretch, kv_head, position, tile == 0, fresh_keys, fresh_values);
  __syncthreads();

  const int width = row_width<T>(dim), fresh = fresh_width<T>(dim), start = *tokens.start;
  const int capacity = args.cache.capacity;
  const Rows<T> keys{first_row<T>(args.cache.keys, tokens, capacity, kv_head), fresh_keys, start,
                     width, fresh};
  const Rows<T> values{first_row<T>(args.cache.values, tokens, capacity, kv_head), fresh_values,
                       start, width, fresh};
  const Gathered<L, kRows> gathered =
      attend<L, kRows>(keys, values, stretch, position, dim, queries, slopes);
  __syncthreads();  // before what was gathered takes the place of what was read
  store_gathered(gathered, dim, shared);
  __syncthreads();

  const int row_floats = dim + kStateFloats;
  if (stretch.count == 1) {
    join(shared, kRows * row_floats, row_floats, L::kTeams, rows, dim, scratch,
         [&](int row, int d, float sum, float, float weights) {
           out[row * dim + d] = sum / weights;
         });
    return;
  }
  // [splits, dim + kStateFloats] of each row
  float* parts = args.gathered +
                 (static_cast<std::size_t>(token) * tokens.heads + head) * args.splits * row_floats;
  const int splits_floats = args.splits * row_floats;
  join(shared, kRows * row_floats, row_floats, L::kTeams, rows, dim, scratch,
       [&](int row, int d, float sum, float largest, float weights) {
         float* part = parts + row * splits_floats + split * row_floats;
         part[d] = sum;
         if (d > 0) return;
         part[dim] = largest;
         part[dim + 1] = weights;
       });
  unsigned* arrived = args.arrived + blockIdx.y * gridDim.x + blockIdx.x;
  if (!is_last_block(arrived, static_cast<unsigned>(stretch.count), flag)) return;
  join(
      parts, row_floats, splits_floats, stretch.count, rows, dim, scratch,
      [&](int row, int d, float sum, float, float weights) { out[row * dim + d] = sum / weights; });
}

template <class L, int kRows>
Status launch_tiles(const Queue& queue, const AttnDecodeArgs& args) {
  const NewTokens& tokens = args.tokens;
  const int tiles = tokens.kv_heads * ceil_div(tokens.heads / tokens.kv_heads, kRows);
  const Shared<L, kRows> shared{tokens.head_dim};
  const LaunchShape shape{"attn_decode",
                          dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(tokens.tokens),
                               static_cast<unsigned>(args.splits)),
                          kThreads,
                          static_cast<std::size_t>(shared.end(args.splits)) * sizeof(float)};
  return launch(queue, shape, attn_decode_kernel<L, kRows>, args);
}

template <class L>
Status launch_group(const Queue& queue, const AttnDecodeArgs& args) {
  const int group = args.tokens.heads / args.tokens.kv_heads;
  if (group == 1) return launch_tiles<L, 1>(queue, args);
  if (group == 2) return launch_tiles<L, 2>(queue, args);
  if (group <= 4) return launch_tiles<L, 4>(queue, args);
  return launch_tiles<L, 8>(queue, args);
}

// Lanes have kWide neighbours of a row and kPieces of such pieces, eight elements in all.
template <class T, int kWide>
Status launch_rows(const Queue& queue, const AttnDecodeArgs& args) {
  const int dim = args.tokens.head_dim;
  const int width = row_width<T>(dim);
  const bool wide = dim % kWide == 0 &&
                    can_pack(static_cast<const T*>(args.cache.keys), width, kWide) &&
                    can_pack(static_cast<const T*>(args.cache.values), width, kWide);
  constexpr int kPieces = 8 / kWide;
  if (!wide) return launch_tiles<Layout<T, 1, 8, kWarpLanes>, 1>(queue, args);
  if (dim <= 64) return launch_group<Layout<T, kWide, kPieces, 8>>(queue, args);
  if (dim <= 128) return launch_group<Layout<T, kWide, kPieces, 16>>(queue, args);
  return launch_group<Layout<T, kWide, kPieces, 32>>(queue, args);
}

}  // namespace

Status attn_decode(const Queue& queue, const AttnDecodeArgs& args) {
  const auto refused = [](const char* what, int value, int most) {
    return Status{std::string("attn_decode: ") + what + " is " + std::to_string(value) +
                  ", expected at most " + std::to_string(most)};
  };
  if (args.tokens.tokens == 0) return {};
  if (args.tokens.tokens > kMostTokens) return refused("tokens", args.tokens.tokens, kMostTokens);
  if (args.tokens.head_dim > kMostDim) return refused("head_dim", args.tokens.head_dim, kMostDim);
  if (args.splits > kMostSplits) return refused("splits", args.splits, kMostSplits);
  switch (args.cache.dtype) {
    case DType::kFloat16:
      return launch_rows<__half, 8>(queue, args);
    case DType::kInt8:
      return launch_rows<std::int8_t, 4>(queue, args);
    case DType::kFloat32:
    case DType::kBfloat16:
      break;
  }
  return {"attn_decode: the cache is neither float16 nor int8"};
}

}  // namespace tinychat::cuda
