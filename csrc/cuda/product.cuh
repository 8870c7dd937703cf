// The product of a few tokens by tiles of a weight in the layout tc16, as gemv.cu describes it: its
// main loop with the loads, the activations on their way to float16 in shared memory, the tensor
// cores, the sums.
//
// The arguments are those of gemv; an op that multiplies as gemv does fills in what it needs.
#pragma once

#include "cuda/elements.cuh"
#include "cuda/launch.h"
#include "cuda/operands.cuh"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"
#include "cuda/row_norm.cuh"
#include "cuda/tc16.cuh"

namespace tinychat::cuda {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpLanes;
constexpr int kRingRegisters = 40;  // of loads that are on their way, about
// Between tokens in shared memory, so that their rows start in different banks.
constexpr int kGapWords = 4;

// How many items a lane may have on their way, of as many tiles at a time.
template <class Shape>
TINYCHAT_BOTH_SIDES constexpr int ring_depth(int tiles) {
  const int fit = kRingRegisters / (tiles * Shape::kRegisters);
  return fit > 1 ? fit : 1;
}

// --- activations

// The inputs that are in shared memory at a time.
struct Slice {
  int tokens;
  int inputs;  // a multiple of kUnitInputs
  int groups;

  TINYCHAT_BOTH_SIDES constexpr int row_words() const { return inputs / 2 + kGapWords; }
  TINYCHAT_BOTH_SIDES constexpr int word_bytes() const { return tokens * row_words() * 4; }
  TINYCHAT_BOTH_SIDES constexpr int factor_bytes() const { return tokens * groups * 4; }
};

// The block's shared memory. The sums take the place of the words when those are done with.
struct Shared {
  RowStatistics* statistics;  // [kGemvTokens]
  float* scratch;             // [kWarps]
  std::uint32_t* words;       // [tokens, slice.row_words()], two inputs each, see word_of_input
  float* factors;             // [groups, tokens], what the sum of a group is multiplied by
  float* sums;                // [kWarps, tiles, tokens, kTileRows]
};
constexpr int kFixedBytes = kGemvTokens * static_cast<int>(sizeof(RowStatistics)) +
                            kWarps * static_cast<int>(sizeof(float));

__device__ __forceinline__ Shared shared_parts(const Slice& slice) {
  auto* const base = shared_memory<unsigned char>();
  auto* const rest = base + kFixedBytes;
  return {reinterpret_cast<RowStatistics*>(base),
          reinterpret_cast<float*>(base + kGemvTokens * sizeof(RowStatistics)),
          reinterpret_cast<std::uint32_t*>(rest),
          reinterpret_cast<float*>(rest + slice.word_bytes()), reinterpret_cast<float*>(rest)};
}

constexpr int shared_bytes(const Slice& slice, int tiles) {
  const int work = slice.word_bytes() + slice.factor_bytes();
  const int sums = kWarps * tiles * slice.tokens * kTileRows * static_cast<int>(sizeof(float));
  return kFixedBytes + (work > sums ? work : sums);
}

// The word of a token's row with the inputs k and k + 1, k even; k + 2 and k + 3 are kNextPair
// words further where k is a multiple of 4. All that a lane needs of 64 inputs, four fragments'
// b[0] and b[1], are eight words that follow each other.
constexpr int kNextPair = 8;
__device__ __forceinline__ unsigned word_of_input(unsigned k) {
  const unsigned fragment = k % kUnitInputs / kFragmentInputs, upper = k / 8 % 2, pair = k / 2 % 4;
  return k / kUnitInputs * (kUnitInputs / 2) + pair * kNextPair + fragment * 2 + upper;
}

__device__ __forceinline__ const float* token_row(const GemvArgs& args, int token) {
  return args.x + static_cast<std::size_t>(token) * static_cast<std::size_t>(args.layout.cols);
}

TINYCHAT_BOTH_SIDES inline Inputs inputs_of(const GemvArgs& args) {
  return {args.norm, args.order, args.layout.cols};
}

// How the inputs of a token are dealt out: lane i of a warp takes the fours from 4i, the warps one
// after the other, and each has kMostAhead such loads on their way before it uses the first (or one
// at a time, where inputs do not lie side by side).
constexpr int kMostAhead = 3;
constexpr int kWarpInputs = 4 * kWarpLanes;
constexpr int kStep = kWarps * kWarpInputs;

// The fours of a lane from input k of the slice on, in steps of kStep, to float16 in shared memory.
// The lanes of a group find its largest magnitude together; NaN does not count there.
template <int kGroup, int kAhead>
__device__ __forceinline__ void store_inputs(const Floats<4> (&values)[kAhead], int token, int k,
                                             const Slice& slice, const Shared& shared) {
  float largest[kAhead] = {};
#pragma unroll
  for (int step = 0; step < kAhead; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      largest[step] = fmaxf(largest[step], fabsf(values[step].at[i]));
    }
  }
#pragma unroll
  for (float& value : largest) value = warp_max<kGroup / 4>(value);
  std::uint32_t* to =
      shared.words + token * slice.row_words() + word_of_input(static_cast<unsigned>(k));
  const unsigned group = static_cast<unsigned>(k) / kGroup;
  const bool first_of_group = static_cast<unsigned>(k) % kGroup == 0;
#pragma unroll
  for (int step = 0; step < kAhead; ++step) {
    if (k + step * kStep >= slice.inputs) break;
    const float (&four)[4] = values[step].at;
    const Scaling scaling = scaling_of(largest[step]);
    to[step * (kStep / 2)] =
        word_of(__floats2half2_rn(four[0] * scaling.down, four[1] * scaling.down));
    to[step * (kStep / 2) + kNextPair] =
        word_of(__floats2half2_rn(four[2] * scaling.down, four[3] * scaling.down));
    if (first_of_group) {
      const int at = static_cast<int>(group) + step * (kStep / kGroup);
      shared.factors[at * slice.tokens + token] = scaling.up;
    }
  }
}

// The inputs from `first` on of all tokens to shared memory.
template <int kGroup, bool kFours>
__device__ __forceinline__ void stage_inputs(const GemvArgs& args, int first, const Slice& slice,
                                             const Shared& shared) {
  constexpr int kAhead = kFours ? kMostAhead : 1;
  const Inputs inputs = inputs_of(args);
  for (int token = 0; token < slice.tokens; ++token) {
    const float* row = token_row(args, token);
    for (int base = warp_index() * kWarpInputs; base < slice.inputs; base += kAhead * kStep) {
      const int k = base + 4 * lane_index();
      Floats<4> values[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        values[i] = load_inputs<kFours>(inputs, row, first + k + i * kStep);
      }
      if (args.norm.weight != nullptr) {
        const RowStatistics statistics = shared.statistics[token];
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          normalize_inputs<kFours>(inputs, statistics, first + k + i * kStep, values[i]);
        }
      }
      store_inputs<kGroup>(values, token, k, slice, shared);
    }
  }
}

__device__ __forceinline__ void measure_rows(const GemvArgs& args, const Shared& shared,
                                             bool fours) {
  const int cols = args.layout.cols;
  for (int token = 0; token < args.tokens; ++token) {
    const float* row = token_row(args, token);
    const RowStatistics statistics =
        fours ? measure_row<4, kThreads>(row, args.norm, cols, shared.scratch)
              : measure_row<1, kThreads>(row, args.norm, cols, shared.scratch);
    if (threadIdx.x == 0) shared.statistics[token] = statistics;
    __syncthreads();
  }
}

// --- products

// totals [16 rows, 8 tokens] += the item's rows times the inputs from k on of the slice.
template <int kBits, int kGroup, int kTiles>
__device__ __forceinline__ void multiply_item(const Item<kBits, kGroup> (&items)[kTiles], int k,
                                              const Slice& slice, const Shared& shared,
                                              float (&totals)[kTiles][4]) {
  constexpr int kWordsPerFragment = kBits / 4;
  constexpr int kPairInputs = 2 * kFragmentInputs;  // two fragments' B operands are one load
  const int lane = lane_index(), last = slice.tokens - 1;
  // Columns without a token repeat the last one; nobody reads their sums.
  const int column = lane / 4 < last ? lane / 4 : last;
  const int pair = lane % 4;
  const int even = 2 * pair < last ? 2 * pair : last, odd = 2 * pair < last ? 2 * pair + 1 : last;
  const std::uint32_t* row = shared.words + column * slice.row_words() + k / 2 + kNextPair * pair;
#pragma unroll
  for (int g = 0; g < Item<kBits, kGroup>::Shape::kGroups; ++g) {
    GroupScales group[kTiles];
    float sums[kTiles][4] = {};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) group[i] = group_scales<kBits>(items[i].scales[g]);
#pragma unroll
    for (int in_group = 0; in_group < kGroup; in_group += kPairInputs) {
      const int from = g * kGroup + in_group;
      const uint4 b = *reinterpret_cast<const uint4*>(row + from / kUnitInputs * (kUnitInputs / 2) +
                                                      from % kUnitInputs / kPairInputs * 4);
      const std::uint32_t fragments[2][2] = {{b.x, b.y}, {b.z, b.w}};
#pragma unroll
      for (int f = 0; f < 2; ++f) {
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          std::uint32_t a[4];
          dequantize<kBits>(items[i].words + (from / kFragmentInputs + f) * kWordsPerFragment,
                            group[i], a);
          mma_m16n8k16(sums[i], a, fragments[f]);
        }
      }
    }
    const float* factors = shared.factors + (k / kGroup + g) * slice.tokens;
    const float factor[2] = {factors[even], factors[odd]};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        totals[i][j] += sums[i][j] * (group[i].scales[j / 2] * factor[j % 2]);
      }
    }
  }
}

template <int kTiles>
__device__ __forceinline__ void write_sums(const float (&totals)[kTiles][4], const Slice& slice,
                                           const Shared& shared) {
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int token = sum_col(j);
      if (token >= slice.tokens) continue;
      const int place = ((warp_index() * kTiles + i) * slice.tokens + token) * kTileRows;
      shared.sums[place + sum_row(j)] = totals[i][j];
    }
  }
}

// totals += the products of the items of this warp: `begin`, and every kStride-th after it of each
// slice, if it is `busy`; all warps of the block convert the activations. The first weights are on
// their way when `before_inputs` is called.
template <int kStride, int kBits, int kGroup, int kTiles, class F>
__device__ __forceinline__ void multiply_slices(const GemvArgs& args, const Slice& slice,
                                                const Shared& shared, bool fours,
                                                const TileAddress (&tiles)[kTiles], int begin,
                                                bool busy, F before_inputs,
                                                float (&totals)[kTiles][4]) {
  using Shape = ItemShape<kBits, kGroup>;
  constexpr int kDepth = ring_depth<Shape>(kTiles);  // of the ring of items on their way
  const int items = args.layout.padded_cols() / Shape::kInputs;
  const int slice_items = slice.inputs / Shape::kInputs;
  Item<kBits, kGroup> ring[kDepth][kTiles] = {};
  const auto fetch = [&](int slot, int item, int end) {
    if (item >= end) return;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) ring[slot][i] = load_item<kBits, kGroup>(tiles[i], item);
  };

  for (int first = 0; first < items; first += slice_items) {
    const int last = items - first < slice_items ? items : first + slice_items;
    const int own = first + begin, end = busy ? last : first;
#pragma unroll
    for (int i = 0; i < kDepth; ++i) fetch(i, own + i * kStride, end);
    if (first == 0) before_inputs();
    if (fours) {
      stage_inputs<kGroup, true>(args, first * Shape::kInputs, slice, shared);
    } else {
      stage_inputs<kGroup, false>(args, first * Shape::kInputs, slice, shared);
    }
    __syncthreads();
    for (int base = own; base < end; base += kDepth * kStride) {
#pragma unroll
      for (int i = 0; i < kDepth; ++i) {
        const int item = base + i * kStride;
        if (item >= end) break;
        multiply_item(ring[i], (item - first) * Shape::kInputs, slice, shared, totals);
        fetch(i, item + kDepth * kStride, end);
      }
    }
    __syncthreads();  // before others take the place of the inputs
  }
}

// --- launching

// What is wrong with the tokens or the layout of a product, if anything.
inline Status check_product(const char* op, const Tc16& layout, int tokens, bool gated = false) {
  if (tokens <= kGemvTokens) return refuse_weight(op, layout, gated);
  return {std::string(op) + ": " + std::to_string(tokens) + " tokens; at most " +
          std::to_string(kGemvTokens) + " are multiplied at a time"};
}

// All inputs, or as many rounds of all warps as fit.
inline Slice choose_slice(const GemvArgs& args, int tiles) {
  const Tc16& layout = args.layout;
  Slice slice{args.tokens, layout.padded_cols(), layout.groups()};
  if (shared_bytes(slice, tiles) <= kMostShared) return slice;
  const int round = kWarps * (layout.group > kUnitInputs ? layout.group : kUnitInputs);
  slice = {args.tokens, round, round / layout.group};
  for (Slice next = slice; shared_bytes(next, tiles) <= kMostShared;
       next = {args.tokens, next.inputs + round, (next.inputs + round) / layout.group}) {
    slice = next;
  }
  return slice;
}

}  // namespace tinychat::cuda
