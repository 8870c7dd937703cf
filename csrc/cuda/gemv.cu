// gemv: out = y W^T + bias, with y = norm(x)[:, order] of 1 to 8 tokens; or act(gate) * up of the
// two halves of it; or out += it. The product of decoding: of a token, or of the few that are
// checked together.
//
//   x [T, K] float32, W [N, K] of 4 or 8 bits in the layout of tc16.h, bias [N] or none,
//   out [T, N] float32, gated [T, N / 2]
//
// One block of 8 warps makes 16 outputs, the tile b of the weight; gated, the tiles b and b + N /
// 32, which are the gates and the ups of the same 16. Inputs are dealt to the warps in items of 128
// (64 where groups are smaller): item i to warp i % 8. A warp multiplies by tensor cores: the
// weights are the A operand, dequantized in registers, the tokens the columns of the B operand, so
// that eight take the time of one. For each group of inputs the sums, float32, are scaled and added
// to the totals of the warp; in the end the totals of the warps are added in their order.
//
// The activations are normalized in float32 and kept in shared memory as float16, all K of them or
// as many at a time as fit. Each group of a token is first multiplied by the power of two that
// brings its largest magnitude to 2^14 .. 2^15: so none becomes infinite, however large, and all
// but those below 2^-28 of the group's largest are rounded by at most 2^-11 of themselves. Nothing
// else is rounded but float32 sums: q - z is a whole number, and its product with 11 bits fits.
//
// A token's row depends on nothing but the token: neither what comes with it nor the slices of K
// change which numbers are added in which order.
//
// Bound: the weights' bytes from memory. Each lane has up to eight loads of 16 bytes on their way,
// and the first are issued before the launches ahead have ended, since those never write weights.
// Every block reads and normalizes all of x, which lies in L2. Not yet run on a card; to be
// measured there: warps a block, depth of the ring, and the share of time before the first product.
#include "cuda/activation.cuh"
#include "cuda/elements.cuh"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"
#include "cuda/row_norm.cuh"
#include "cuda/tc16.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpLanes;
constexpr int kBlocksPerSm = 2;        // at least, for which registers must do
constexpr int kRingRegisters = 40;     // of loads that are on their way, about
constexpr int kMostShared = 48 << 10;  // what every card gives without being asked
// Between tokens in shared memory, so that their rows start in different banks.
constexpr int kGapWords = 4;

// How much of the weight's rows a warp works on at a time.
template <int kBits, int kGroup>
struct ItemShape {
  static constexpr int kInputs = kGroup > kUnitInputs ? kGroup : kUnitInputs;
  static constexpr int kGroups = kInputs / kGroup;
  static constexpr int kWords = kInputs * kBits * kTileRows / (32 * kWarpLanes);  // of a lane
  static constexpr int kRegisters = kWords + 2 * kGroups;
};

// What a lane reads of an item of a tile.
template <int kBits, int kGroup>
struct Item {
  using Shape = ItemShape<kBits, kGroup>;
  std::uint32_t words[Shape::kWords];
  uint2 scales[Shape::kGroups];
};

// Where the lane's part of a tile starts.
struct TileAddress {
  const std::uint8_t *words, *scales;
};
__device__ __forceinline__ TileAddress tile_address(const GemvArgs& args, int tile) {
  const int lane = lane_index();
  return {args.weight + args.layout.load(tile, 0) + lane * sizeof(uint4),
          args.weight + args.layout.scales(tile, 0) + lane / 4 * sizeof(uint2)};
}

template <int kBits, int kGroup>
__device__ __forceinline__ Item<kBits, kGroup> load_item(const TileAddress& tile, int index) {
  Item<kBits, kGroup> item;
  constexpr int kLoads = Item<kBits, kGroup>::Shape::kWords / 4;
  constexpr int kGroups = Item<kBits, kGroup>::Shape::kGroups;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const std::size_t load = static_cast<std::size_t>(index * kLoads + i);
    const uint4 words = load_stream16(tile.words + load * kLoadBytes);
    item.words[4 * i] = words.x;
    item.words[4 * i + 1] = words.y;
    item.words[4 * i + 2] = words.z;
    item.words[4 * i + 3] = words.w;
  }
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    const std::size_t group = static_cast<std::size_t>(index * kGroups + i);
    item.scales[i] = *reinterpret_cast<const uint2*>(tile.scales + group * kGroupScaleBytes);
  }
  return item;
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

// The column of x that input k is. An order that points outside gives the last one.
__device__ __forceinline__ int column_of(const GemvArgs& args, int k) {
  if (args.order == nullptr) return k;
  const int col = args.order[k];
  return col < 0 || col >= args.layout.cols ? args.layout.cols - 1 : col;
}

// The inputs k .. k + 3 of a token's row, zeros from K on; kFours where they lie side by side.
template <bool kFours>
__device__ __forceinline__ Floats<4> load_inputs(const GemvArgs& args, const float* row, int k) {
  Floats<4> values = {};
  if constexpr (kFours) {
    if (k < args.layout.cols) values = load<4>(row + k);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (k + i < args.layout.cols) values.at[i] = row[column_of(args, k + i)];
    }
  }
  return values;
}

template <bool kFours>
__device__ __forceinline__ void normalize_inputs(const GemvArgs& args,
                                                 const RowStatistics& statistics, int k,
                                                 Floats<4>& values) {
  if constexpr (kFours) {
    if (k < args.layout.cols) values = normalized(values, args.norm, statistics, k);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (k + i >= args.layout.cols) continue;
      const Floats<1> one{{values.at[i]}};
      values.at[i] = normalized(one, args.norm, statistics, column_of(args, k + i)).at[0];
    }
  }
}

// A power of two and its inverse.
struct Scaling {
  float down, up;
};

// What brings a group with this largest magnitude below 2^15, and back. Groups all below 2^-100 are
// brought up no further than that one, so that both numbers stay normal; of an infinite one it
// does not matter.
__device__ __forceinline__ Scaling scaling_of(float largest) {
  constexpr std::uint32_t kExponentShift = 23, kBias = 127, kTarget = 14, kLeast = kBias - 100;
  std::uint32_t exponent = bit_cast<std::uint32_t>(largest) >> kExponentShift;
  if (exponent < kLeast) exponent = kLeast;
  return {bit_cast<float>((2 * kBias + kTarget - exponent) << kExponentShift),
          bit_cast<float>((exponent - kTarget) << kExponentShift)};
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
  for (int bit = 1; bit < kGroup / 4; bit *= 2) {
#pragma unroll
    for (float& value : largest) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, bit));
  }
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
  for (int token = 0; token < slice.tokens; ++token) {
    const float* row = token_row(args, token);
    for (int base = warp_index() * kWarpInputs; base < slice.inputs; base += kAhead * kStep) {
      const int k = base + 4 * lane_index();
      Floats<4> values[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        values[i] = load_inputs<kFours>(args, row, first + k + i * kStep);
      }
      if (args.norm.weight != nullptr) {
        const RowStatistics statistics = shared.statistics[token];
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          normalize_inputs<kFours>(args, statistics, first + k + i * kStep, values[i]);
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
  const int lane = lane_index();
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = lane / 4 + j / 2 * 8, token = lane % 4 * 2 + j % 2;
      if (token >= slice.tokens) continue;
      shared.sums[((warp_index() * kTiles + i) * slice.tokens + token) * kTileRows + row] =
          totals[i][j];
    }
  }
}

// The sums of all warps for one output of a tile, and its bias.
template <int kTiles>
__device__ __forceinline__ float finished(const GemvArgs& args, const Shared& shared, int tile,
                                          int place, int output) {
  const int size = args.tokens * kTileRows;
  float sum = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    sum += shared.sums[(warp * kTiles + tile) * size + place];
  }
  return args.bias == nullptr ? sum : sum + args.bias[output];
}

template <int kTiles>
__device__ __forceinline__ void write_result(const GemvArgs& args, const Shared& shared) {
  const int outputs = args.layout.rows / kTiles;
  const int place = static_cast<int>(threadIdx.x);  // token * kTileRows + row
  const int output = static_cast<int>(blockIdx.x) * kTileRows + place % kTileRows;
  if (place >= args.tokens * kTileRows || output >= outputs) return;
  float value = finished<kTiles>(args, shared, 0, place, output);
  if constexpr (kTiles == 2) {
    value = activate(args.gate, value) * finished<kTiles>(args, shared, 1, place, outputs + output);
  }
  float* out = args.out +
               static_cast<std::size_t>(place / kTileRows) * static_cast<std::size_t>(outputs) +
               output;
  *out = args.add ? *out + value : value;
}
static_assert(kGemvTokens * kTileRows <= kThreads, "each output of a block has a thread");

template <int kBits, int kGroup, int kTiles>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    gemv_kernel(GemvArgs args, Slice slice, bool fours) {
  using Shape = ItemShape<kBits, kGroup>;
  constexpr int kFit = kRingRegisters / (kTiles * Shape::kRegisters);
  constexpr int kDepth = kFit > 1 ? kFit : 1;  // of the ring of items on their way
  const Shared shared = shared_parts(slice);
  const int items = args.layout.padded_cols() / Shape::kInputs;
  const int slice_items = slice.inputs / Shape::kInputs;
  TileAddress tiles[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    tiles[i] =
        tile_address(args, static_cast<int>(blockIdx.x + static_cast<unsigned>(i) * gridDim.x));
  }
  Item<kBits, kGroup> ring[kDepth][kTiles] = {};
  const auto fetch = [&](int slot, int item, int end) {
    if (item >= end) return;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) ring[slot][i] = load_item<kBits, kGroup>(tiles[i], item);
  };

  float totals[kTiles][4] = {};
  for (int first = 0; first < items; first += slice_items) {
    const int end = items - first < slice_items ? items : first + slice_items;
    const int own = first + warp_index();
#pragma unroll
    for (int i = 0; i < kDepth; ++i) fetch(i, own + i * kWarps, end);
    if (first == 0) {
      pdl_launch();
      pdl_wait();
      if (args.norm.weight != nullptr) measure_rows(args, shared, fours);
    }
    if (fours) {
      stage_inputs<kGroup, true>(args, first * Shape::kInputs, slice, shared);
    } else {
      stage_inputs<kGroup, false>(args, first * Shape::kInputs, slice, shared);
    }
    __syncthreads();
    for (int base = own; base < end; base += kDepth * kWarps) {
#pragma unroll
      for (int i = 0; i < kDepth; ++i) {
        const int item = base + i * kWarps;
        if (item >= end) break;
        multiply_item(ring[i], (item - first) * Shape::kInputs, slice, shared, totals);
        fetch(i, item + kDepth * kWarps, end);
      }
    }
    __syncthreads();  // before others take the place of the inputs
  }
  write_sums(totals, slice, shared);
  __syncthreads();
  write_result<kTiles>(args, shared);
}

using Kernel = void (*)(GemvArgs, Slice, bool);

template <int kBits, int kGroup>
Kernel variant(bool gated) {
  return gated ? gemv_kernel<kBits, kGroup, 2> : gemv_kernel<kBits, kGroup, 1>;
}

// Null for what there is no kernel for.
Kernel variant(const Tc16& layout, bool gated) {
  switch (layout.bits * 1000 + layout.group) {
    case 4032:
      return variant<4, 32>(gated);
    case 4064:
      return variant<4, 64>(gated);
    case 4128:
      return variant<4, 128>(gated);
    case 8032:
      return variant<8, 32>(gated);
    case 8064:
      return variant<8, 64>(gated);
    case 8128:
      return variant<8, 128>(gated);
    default:
      return nullptr;
  }
}

// All inputs, or as many rounds of all warps as fit.
Slice choose_slice(const GemvArgs& args, int tiles) {
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

}  // namespace

Status gemv(const Queue& queue, const GemvArgs& args) {
  if (args.tokens == 0) return {};
  if (args.tokens > kGemvTokens) {
    return {"gemv: " + std::to_string(args.tokens) + " tokens; at most " +
            std::to_string(kGemvTokens) + " are multiplied at a time"};
  }
  if (args.gated && args.layout.rows % (2 * kTileRows) != 0) {
    return {"gemv: a gated weight has " + std::to_string(args.layout.rows) +
            " rows; a multiple of 32 is needed"};
  }
  const Kernel kernel = variant(args.layout, args.gated);
  if (kernel == nullptr) {
    return {"gemv: a weight has " + std::to_string(args.layout.bits) + " bits in groups of " +
            std::to_string(args.layout.group) + "; 4 or 8 in groups of 32, 64 or 128 are read"};
  }
  const int tiles = args.gated ? 2 : 1, cols = args.layout.cols;
  const bool fours = args.order == nullptr && can_pack(args.x, cols, 4) &&
                     can_pack(args.norm.weight, cols, 4) && can_pack(args.norm.bias, cols, 4);
  const Slice slice = choose_slice(args, tiles);
  const LaunchShape shape{"gemv", static_cast<unsigned>(args.layout.tiles() / tiles), kThreads,
                          static_cast<std::size_t>(shared_bytes(slice, tiles))};
  return launch(queue, shape, kernel, args, slice, fours);
}

}  // namespace tinychat::cuda
