// attn_decode: attention of a few tokens that follow each other, each as if it came alone.
//
//   out[t, h] = sum over j of softmax_j(scale q[t, h] k[j] + alibi[h] (j - p)) v[j],
//     p = start + t, j from 0 (with a window from p - window + 1) to p
//
//   qkv [T, (H + 2G) D] float32, cos and sin [S, half], alibi [H], start [1], keys and values
//   [G, S, D] float16 or [G, S, D + 4] int8 (the scale behind the codes), out [T, H D] float32. q
//   and k are normalized and turned first, as rope_append.cu says; rows start..start + T - 1 of the
//   cache are written, none of them is read.
//
// Grid: (kv heads x tiles of query heads, tokens, splits), blocks of 128 threads. The query heads
// of a kv head are rows of one tile, up to 8, so that the cache is read once for all of them; what
// is more takes further tiles. The keys that a token sees are cut into at most as many stretches as
// there are splits; where they are few, the blocks left over end at once. Which keys a stretch has
// depends on the position, the window and the number of splits alone, and with them the bits of a
// row: launched with one number of splits, a token gets the same ones in any company. The position
// is read on the card, so a captured launch serves every token.
//
// In a block a team of 8, 16 or 32 lanes shares a key, each lane with 8 of its elements: 16 bytes
// of float16. A lane asks for 4 keys and 4 values, then multiplies. New rows, the token's own and
// those of earlier tokens of the call, are made by every block that attends to them, in shared
// memory; the block with the newest stretch writes the token's own to the cache. What teams have
// gathered is joined in shared memory, what splits have in global memory by the block that comes
// last, both in a fixed order. Head sizes that are no multiple of 8 (int8: of 4), and caches that
// are not aligned, go element by element, a tile a head.
//
// Bound: from some hundred positions on, reading the cache once; before that the trips to memory
// one after the other: position, queries and angles, keys and values, the join. With 8 rows an
// element takes 8 multiply-adds, a conversion and 2 shuffles, which keep a multiprocessor about as
// long as the 0.1 cycles in which 4.8 TB/s over 132 of them bring it. Not yet run on a card; the
// keys in flight and the least stretch are guesses.
#include "cuda/attn_join.cuh"
#include "cuda/attn_rows.cuh"
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
constexpr float kLog2E = 1.44269504f;

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

// What a block works on.
struct Job {
  int kv_head, head, rows;  // query heads head..head + rows - 1
  bool appends;             // the row of its token, if it has the newest key
  int token, split, position;
};

template <int kRows>
__device__ __forceinline__ Job job_of(const NewTokens& tokens) {
  const int group = tokens.heads / tokens.kv_heads, tiles = ceil_div(group, kRows);
  const int kv_head = static_cast<int>(blockIdx.x) / tiles;
  const int first = static_cast<int>(blockIdx.x) % tiles * kRows;
  const int token = static_cast<int>(blockIdx.y);
  const int rows = group - first < kRows ? group - first : kRows;
  return {kv_head,
          kv_head * group + first,
          rows,
          first == 0,
          token,
          static_cast<int>(blockIdx.z),
          *tokens.start + token};
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

// Where things are in shared memory, in floats; less than 40 KB in all. Queries, slopes and fresh
// rows are used until the keys are done with, then gathered rows take their place.
template <class L, int kRows>
struct Shared {
  static constexpr int kSlopes = kRows * kMostDim;  // behind the queries
  static constexpr int kFresh = kSlopes + 8;

  int dim, teams;

  __host__ __device__ constexpr int fresh_elements() const {  // of the keys; as many of values
    return kMostTokens * fresh_width<typename L::Element>(dim);
  }
  __host__ __device__ constexpr int scratch() const {
    constexpr int kBytes = static_cast<int>(sizeof(typename L::Element));
    const int before = kFresh + 2 * fresh_elements() * kBytes / static_cast<int>(sizeof(float));
    const int gathered = teams * kRows * (dim + kStateFloats);
    return before > gathered ? before : gathered;
  }
  // Behind it a factor for every part and row, a state for every row, the flag of the last block.
  __host__ __device__ constexpr int end(int splits) const {
    return scratch() + kRows * (splits > teams ? splits : teams) + 2 * kRows + 1;
  }
};

// The output of a token that has no place in the cache.
__device__ __forceinline__ void write_nan(const AttnDecodeArgs& args, const Job& job) {
  const int dim = args.tokens.head_dim;
  const std::size_t first = static_cast<std::size_t>(job.token) * args.tokens.heads + job.head;
  for (int i = static_cast<int>(threadIdx.x); i < job.rows * dim; i += kThreads) {
    args.out[first * dim + i] = NAN;
  }
}

// queries [kRows, kMostDim], normalized, turned and scaled; zero beyond the head and the rows, as
// far as a team reads. slopes [kRows], zero where there are none.
template <class L, int kRows>
__device__ __forceinline__ void prepare_queries(const AttnDecodeArgs& args, const Job& job,
                                                const Teams& teams, float* queries, float* slopes) {
  const int dim = args.tokens.head_dim, reach = teams.lanes() * L::kCount;
  for (int row = warp_index(); row < kRows; row += kWarps) {
    const int head = job.head + (row < job.rows ? row : 0);
    const Head q = measure_head(args.tokens, args.rotation, job.token, head, job.position);
    for (int d = lane_index(); d < reach; d += kWarpLanes) {
      const bool inside = row < job.rows && d < dim;
      const float value = inside ? q.at(d) : 0.0f;
      queries[row * kMostDim + d] = value * (args.scale * kLog2E);
    }
    if (lane_index() == 0) {
      const bool biased = args.alibi != nullptr && row < job.rows;
      slopes[row] = biased ? args.alibi[job.head + row] * kLog2E : 0.0f;
    }
  }
}

// Makes the rows of the new keys and values in `stretch`, and appends the token's own to the cache
// if they are among them and this block is to.
template <class T>
__device__ __forceinline__ void make_fresh_rows(const AttnDecodeArgs& args, const Job& job,
                                                const Stretch& stretch, T* fresh_keys,
                                                T* fresh_values) {
  const NewTokens& tokens = args.tokens;
  const int start = *tokens.start;
  const int first = stretch.begin > start ? stretch.begin : start;
  for (int i = warp_index(); i < 2 * (stretch.end - first); i += kWarps) {
    const bool is_key = i % 2 == 0;
    const int position = first + i / 2, token = position - start;
    const int number = tokens.heads + job.kv_head + (is_key ? 0 : tokens.kv_heads);
    const Head head = measure_head(tokens, args.rotation, token, number, position);
    T* fresh = (is_key ? fresh_keys : fresh_values) + token * fresh_width<T>(tokens.head_dim);
    write_row(head, tokens.head_dim, fresh);
    if (!job.appends || position != job.position) continue;
    T* cached = cached_row<T>(args.cache, tokens.head_dim, is_key, job.kv_head, position);
    write_row(head, tokens.head_dim, cached);
  }
}

template <class T>
__device__ __forceinline__ Rows<T> rows_of(const AttnDecodeArgs& args, const Job& job, bool keys,
                                           const T* fresh) {
  const int dim = args.tokens.head_dim;
  return {cached_row<T>(args.cache, dim, keys, job.kv_head, 0), fresh, *args.tokens.start,
          row_width<T>(dim), fresh_width<T>(dim)};
}

// Scores of a team's keys, the same bits in all its lanes.
template <class L, int kRows>
__device__ __forceinline__ void score(const Teams& teams, const RawRow<L> (&keys)[kInFlight],
                                      const float* queries, float (&scores)[kRows][kInFlight]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) scores[r][n] = 0.0f;
  }
#pragma unroll
  for (int i = 0; i < L::kCount; i += L::kStep) {
    Floats<L::kStep> key[kInFlight];
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) key[n] = numbers_of<L>(keys[n], i);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float* at = queries + r * kMostDim + teams.column<L>(i);
      const Floats<L::kStep> query = load<L::kStep>(at);
#pragma unroll
      for (int n = 0; n < kInFlight; ++n) {
#pragma unroll
        for (int e = 0; e < L::kStep; ++e) scores[r][n] += query.at[e] * key[n].at[e];
      }
    }
  }
  for (int bit = teams.lanes() / 2; bit > 0; bit /= 2) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int n = 0; n < kInFlight; ++n) {
        scores[r][n] += __shfl_xor_sync(kAllLanes, scores[r][n], bit);
      }
    }
  }
  if constexpr (kHasScale<typename L::Element>) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int n = 0; n < kInFlight; ++n) scores[r][n] *= keys[n].scale;
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
                                           float (&weights)[kRows][kInFlight],
                                           Gathered<L, kRows>& gathered) {
#pragma unroll
  for (int n = 0; n < kInFlight; ++n) {
    if constexpr (kHasScale<typename L::Element>) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) weights[r][n] *= values[n].scale;
    }
#pragma unroll
    for (int i = 0; i < L::kCount; i += L::kStep) {
      const Floats<L::kStep> value = numbers_of<L>(values[n], i);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int e = 0; e < L::kStep; ++e) {
          gathered.sums[r][i + e] += weights[r][n] * value.at[e];
        }
      }
    }
  }
}

// All keys of a stretch that fall to this thread's team. Teams of a warp stay together, so that
// those with nothing left take part in the shuffles.
template <class L, int kRows>
__device__ __forceinline__ Gathered<L, kRows> attend(const Teams& teams,
                                                     const Rows<typename L::Element>& keys,
                                                     const Rows<typename L::Element>& values,
                                                     const Stretch& stretch, int position, int dim,
                                                     const float* queries, const float* slopes) {
  Gathered<L, kRows> gathered;
  const int behind = teams.own() % teams.in_warp();
  const int step = kWarps * teams.in_warp();
  for (int first = stretch.begin + teams.own() - behind; first < stretch.end;
       first += kInFlight * step) {
    RawRow<L> key[kInFlight], value[kInFlight];
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) {
      const int at = first + behind + n * step;
      key[n] = load_row<L>(teams, keys.at(at), dim, at < stretch.end);
    }
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) {
      const int at = first + behind + n * step;
      value[n] = load_row<L>(teams, values.at(at), dim, at < stretch.end);
    }
    float scores[kRows][kInFlight];
    score<L, kRows>(teams, key, queries, scores);
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) {
      const int at = first + behind + n * step;
      const float distance = static_cast<float>(at - position);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        scores[r][n] = at < stretch.end ? scores[r][n] + slopes[r] * distance : -INFINITY;
      }
    }
    update_softmax(scores, gathered);
    add_values(value, scores, gathered);
  }
  return gathered;
}

// rows [teams, kRows, dim + kStateFloats]
template <class L, int kRows>
__device__ __forceinline__ void store_gathered(const Teams& teams,
                                               const Gathered<L, kRows>& gathered, int dim,
                                               float* rows) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float* row = rows + (teams.own() * kRows + r) * (dim + kStateFloats);
#pragma unroll
    for (int i = 0; i < L::kCount; i += L::kStep) {
      Floats<L::kStep> sums;
#pragma unroll
      for (int e = 0; e < L::kStep; ++e) sums.at[e] = gathered.sums[r][i + e];
      if (teams.column<L>(i) < dim) store(row + teams.column<L>(i), sums);
    }
    if (teams.lane() == 0) {
      row[dim] = gathered.largest[r];
      row[dim + 1] = gathered.weights[r];
    }
  }
}

// What the teams have gathered becomes the output, if no other block has keys of this token, or
// else one of the parts that the last block to come makes the output of.
template <int kRows>
__device__ __forceinline__ void write_result(const AttnDecodeArgs& args, const Job& job, int teams,
                                             int stretches, const float* gathered, float* scratch,
                                             unsigned* flag) {
  const int dim = args.tokens.head_dim, row_floats = dim + kStateFloats;
  const std::size_t first_row = static_cast<std::size_t>(job.token) * args.tokens.heads + job.head;
  float* out = args.out + first_row * dim;
  const auto write = [&](int row, int d, float sum, float, float weights) {
    out[row * dim + d] = sum / weights;
  };
  if (stretches == 1) {
    join<kThreads>(gathered, kRows * row_floats, row_floats, teams, job.rows, dim, scratch, write);
    return;
  }
  const int splits_floats = args.splits * row_floats;
  float* parts = args.gathered + first_row * splits_floats;  // [rows, splits, dim + kStateFloats]
  join<kThreads>(gathered, kRows * row_floats, row_floats, teams, job.rows, dim, scratch,
                 [&](int row, int d, float sum, float largest, float weights) {
                   float* part = parts + row * splits_floats + job.split * row_floats;
                   part[d] = sum;
                   if (d > 0) return;
                   part[dim] = largest;
                   part[dim + 1] = weights;
                 });
  unsigned* arrived = args.arrived + blockIdx.y * gridDim.x + blockIdx.x;
  if (!is_last_block(arrived, static_cast<unsigned>(stretches), flag)) return;
  join<kThreads>(parts, row_floats, splits_floats, stretches, job.rows, dim, scratch, write);
}

template <class L, int kRows>
__global__ void __launch_bounds__(kThreads, kRows < 8 ? 3 : 2)
    attn_decode_kernel(AttnDecodeArgs args, Teams teams) {
  using T = typename L::Element;
  const Shared<L, kRows> layout{args.tokens.head_dim, kWarps * teams.in_warp()};
  float* shared = shared_memory<float>();
  float* queries = shared;
  float* slopes = shared + layout.kSlopes;
  T* fresh_keys = reinterpret_cast<T*>(shared + layout.kFresh);
  T* fresh_values = fresh_keys + layout.fresh_elements();
  float* scratch = shared + layout.scratch();
  auto* flag = reinterpret_cast<unsigned*>(shared + layout.end(args.splits) - 1);

  pdl_launch();
  pdl_wait();
  const Job job = job_of<kRows>(args.tokens);
  if (!has_place(args.cache, job.position)) {
    if (job.split == 0) write_nan(args, job);
    return;
  }
  const Stretch stretch = stretch_of(job.position, args.window, args.splits, job.split);
  if (job.split >= stretch.count) return;

  prepare_queries<L, kRows>(args, job, teams, queries, slopes);
  make_fresh_rows(args, job, stretch, fresh_keys, fresh_values);
  __syncthreads();
  const Rows<T> keys = rows_of(args, job, true, fresh_keys);
  const Rows<T> values = rows_of(args, job, false, fresh_values);
  const Gathered<L, kRows> gathered = attend<L, kRows>(teams, keys, values, stretch, job.position,
                                                       args.tokens.head_dim, queries, slopes);
  __syncthreads();  // before what was gathered takes the place of what was read
  store_gathered(teams, gathered, args.tokens.head_dim, shared);
  __syncthreads();
  write_result<kRows>(args, job, layout.teams, stretch.count, shared, scratch, flag);
}

template <class L, int kRows>
Status launch_tiles(const Queue& queue, const AttnDecodeArgs& args, const Teams& teams) {
  const NewTokens& tokens = args.tokens;
  const int tiles = tokens.kv_heads * ceil_div(tokens.heads / tokens.kv_heads, kRows);
  const Shared<L, kRows> shared{tokens.head_dim, kWarps * teams.in_warp()};
  const LaunchShape shape{"attn_decode",
                          dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(tokens.tokens),
                               static_cast<unsigned>(args.splits)),
                          kThreads,
                          static_cast<std::size_t>(shared.end(args.splits)) * sizeof(float)};
  return launch(queue, shape, attn_decode_kernel<L, kRows>, args, teams);
}

// A lane has eight elements of a row, by one load of 16 bytes of float16 or two of 4 of int8, whose
// rows have a scale between them; or, where that does not go, by eight loads, for one head a tile.
template <class T>
Status launch_rows(const Queue& queue, const AttnDecodeArgs& args) {
  constexpr int kWide = kHasScale<T> ? 4 : 8;
  using Wide = Layout<T, kWide, 8 / kWide>;
  const int dim = args.tokens.head_dim, group = args.tokens.heads / args.tokens.kv_heads;
  const int width = row_width<T>(dim);
  if (dim % kWide != 0 || !can_pack(static_cast<const T*>(args.cache.keys), width, kWide) ||
      !can_pack(static_cast<const T*>(args.cache.values), width, kWide)) {
    return launch_tiles<Layout<T, 1, 8>, 1>(queue, args, Teams{5});
  }
  const Teams teams{dim <= 64 ? 3 : dim <= 128 ? 4 : 5};
  if (group == 1) return launch_tiles<Wide, 1>(queue, args, teams);
  if (group <= 4) return launch_tiles<Wide, 4>(queue, args, teams);
  return launch_tiles<Wide, 8>(queue, args, teams);
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
  return for_rows_of(args.cache, "attn_decode",
                     [&](auto element) { return launch_rows<decltype(element)>(queue, args); });
}

}  // namespace tinychat::cuda
