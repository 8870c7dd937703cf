// gemm: out = x W^T + bias, of nine tokens to some hundred; or act(gate) * up of the two halves of
// it; or out += it. The product of short prompts; gemv.cu has the one of decoding.
//
//   x [T, K'] float16 with a factor for each row (halves.cu), K' the padded K of the layout,
//   W [N, K] of 4 or 8 bits in the layout of tc16.h, bias [N] or none, out [T, N] float32, gated
//   [T, N / 2]
//
// A warp multiplies a tile of 16 rows of the weight by 16, 32 or 64 tokens, 64 inputs (a unit) at a
// time, by tensor cores: the weights are the A operand, read from memory by the lane that wants
// them and dequantized in its registers, the tokens are columns of B operands, read by ldmatrix.
// The sums of a group, float32, are scaled and added to the warp's totals: one fma for each output
// and group (each half of a group of 128), beside 2 to 4 products of tensor cores for four outputs.
//
// A block is four warps. Each has a tile of its own and all inputs (gated, two have gates and two
// the ups that belong to them); or, where N is so small that these were too few blocks, all have
// one tile and every fourth unit, and their totals are added in their order. The block's tokens
// come through a ring of stages in shared memory, one unit for each share of the inputs, filled by
// cp.async ahead of use. The 16-byte chunks of a row are stored in an order that differs from row
// to row, so that the eight rows which ldmatrix reads at a time lie in different banks.
//
// Rounding: q - z and x are exact in float16, so only float32 sums are rounded. What is added in
// which order depends on the weight's shape alone: not on the number of tokens, nor on the others.
//
// Bound: for few tokens the weights' bytes, as in gemv: a warp has 2 KB of codes on their way. From
// some hundred tokens on the tensor cores, at less than their peak since m16n8k16 is not the
// fastest way to them, and since each block dequantizes for 64 tokens only. There dequantize and a
// library's product of float16 take over: from how many tokens on is to be measured on a card, as
// are the token tiles and the number of rows below which inputs are shared out. sm_75 has no
// cp.async: its copies wait for memory. Not yet run on a card.
#include "cuda/launch.h"
#include "cuda/operands.cuh"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"
#include "cuda/tc16.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpLanes;
constexpr int kRingBytes = 2 << 10;  // of codes on their way to a warp

constexpr int kFragments = kUnitInputs / kFragmentInputs;  // A operands of a unit
constexpr int kCols = 8;                                   // tokens of a B operand
constexpr int kChunkBytes = 16;
constexpr int kRowChunks = kUnitInputs * 2 / kChunkBytes;  // of a token's unit
constexpr int kSumStride = kTileRows + 4;  // so that the lanes of a store use different banks
// Up to as many tiles the warps of a block share one: 8192 rows are 128 blocks otherwise.
constexpr int kMostSplitTiles = 512;

// kTokens of a block; kSplit warps share the inputs of a tile.
template <int kTokens, int kSplit>
struct Block {
  static constexpr int kTiles = kWarps / kSplit;
  static constexpr int kStageChunks = kSplit * kTokens * kRowChunks;
  static constexpr int kStageBytes = kStageChunks * kChunkBytes;
  static constexpr int kFit = kMostShared / kStageBytes;
  static constexpr int kStages = kFit < 4 ? kFit : 4;
  static constexpr int kSumBytes = kWarps * kTokens * kSumStride * static_cast<int>(sizeof(float));
  static constexpr int kSharedBytes =
      kStages * kStageBytes > kSumBytes ? kStages * kStageBytes : kSumBytes;
  static_assert(kStages >= 2 && kSharedBytes <= kMostShared);
};

// --- activations

// Where a chunk of a token's unit lies in a share of a stage.
__device__ __forceinline__ int chunk_offset(int token, int chunk) {
  return (token * kRowChunks + (chunk ^ token % kRowChunks)) * kChunkBytes;
}

// Begins to copy the units of a step, one for each share, of the block's tokens; zeros where there
// is no token. Units behind the last are not read.
template <int kTokens, int kSplit>
__device__ __forceinline__ void fetch_inputs(const GemmArgs& args, int step, int first_token,
                                             unsigned char* stage) {
  const int cols = args.layout.padded_cols();
#pragma unroll
  for (int base = 0; base < Block<kTokens, kSplit>::kStageChunks; base += kThreads) {
    const int i = base + static_cast<int>(threadIdx.x);
    const int chunk = i % kRowChunks, token = i / kRowChunks % kTokens;
    const int split = i / (kRowChunks * kTokens);
    const int unit = step * kSplit + split;
    if (unit * kUnitInputs >= cols) continue;
    const bool there = first_token + token < args.tokens;
    const std::size_t row = there ? static_cast<std::size_t>(first_token + token) : 0;
    const auto* const from = static_cast<const __half*>(args.x) +
                             row * static_cast<std::size_t>(cols) + unit * kUnitInputs +
                             chunk * (kChunkBytes / 2);
    cp_async16(stage + split * (kTokens * kRowChunks * kChunkBytes) + chunk_offset(token, chunk),
               from, there);
  }
}

// The B operands of 16 tokens and one fragment's inputs.
__device__ __forceinline__ void load_tokens(const unsigned char* share, int first_token,
                                            int fragment, std::uint32_t (&b)[2][2]) {
  // Lane i gives a row of matrix i / 8: eight tokens, of which the later eight are matrices 2 and
  // 3, and a half of the inputs.
  const int matrix = lane_index() / 8;
  const int token = first_token + matrix / 2 * kCols + lane_index() % 8;
  std::uint32_t words[4];
  ldmatrix_x4(words, share + chunk_offset(token, fragment * 2 + matrix % 2));
#pragma unroll
  for (int i = 0; i < 4; ++i) b[i / 2][i % 2] = words[i];
}

// --- products

// totals [16 rows, kTokens] += the unit's rows times its inputs.
template <int kBits, int kGroup, int kTokens>
__device__ __forceinline__ void multiply_unit(const Item<kBits, kGroup>& unit,
                                              const unsigned char* share,
                                              float (&totals)[kTokens / kCols][4]) {
  constexpr int kFragmentWords = kBits / 4, kGroupFragments = kGroup / kFragmentInputs;
#pragma unroll
  for (int g = 0; g < kFragments / kGroupFragments; ++g) {
    const GroupScales group = group_scales<kBits>(unit.scales[g]);
    float sums[kTokens / kCols][4] = {};
#pragma unroll
    for (int f = g * kGroupFragments; f < (g + 1) * kGroupFragments; ++f) {
      std::uint32_t a[4];
      dequantize<kBits>(unit.words + f * kFragmentWords, group, a);
#pragma unroll
      for (int n = 0; n < kTokens / kCols; n += 2) {
        std::uint32_t b[2][2];
        load_tokens(share, n * kCols, f, b);
        mma_m16n8k16(sums[n], a, b[0]);
        mma_m16n8k16(sums[n + 1], a, b[1]);
      }
    }
#pragma unroll
    for (int n = 0; n < kTokens / kCols; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) totals[n][j] += sums[n][j] * group.scales[j / 2];
    }
  }
}

// --- results

// Into sums [kWarps, kTokens, kSumStride].
template <int kTokens>
__device__ __forceinline__ void write_sums(const float (&totals)[kTokens / kCols][4], float* sums) {
#pragma unroll
  for (int n = 0; n < kTokens / kCols; ++n) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int token = n * kCols + sum_col(j);
      sums[(warp_index() * kTokens + token) * kSumStride + sum_row(j)] = totals[n][j];
    }
  }
}

// One output of a tile of the block: its sums, in the order of the warps that have them.
template <int kTokens, int kSplit>
__device__ __forceinline__ float summed(const float* sums, int tile, int token, int row) {
  float sum = 0.0f;
#pragma unroll
  for (int split = 0; split < kSplit; ++split) {
    sum += sums[((tile * kSplit + split) * kTokens + token) * kSumStride + row];
  }
  return sum;
}

template <int kTokens, int kSplit>
__device__ __forceinline__ void write_result(const GemmArgs& args, const float* sums,
                                             int first_token, int row_block) {
  const int per_output = args.ending.gated ? 2 : 1;
  const int outputs = args.layout.rows / per_output;
  const int block_outputs = Block<kTokens, kSplit>::kTiles * kTileRows / per_output;
  for (int place = static_cast<int>(threadIdx.x); place < kTokens * block_outputs;
       place += kThreads) {
    const int in_block = place % block_outputs, in_tokens = place / block_outputs;
    const int tile = in_block / kTileRows * per_output, row = in_block % kTileRows;
    const int output = row_block * block_outputs + in_block, token = first_token + in_tokens;
    if (token >= args.tokens || output >= outputs) continue;
    finish(args.ending, args.ending.gated, token, output, outputs, [&](int half) {
      return summed<kTokens, kSplit>(sums, tile + half, in_tokens, row) * args.factors[token];
    });
  }
}

// The tile of the weight that is the block's `tile`th: gated, a gate and its up in turn.
template <int kTiles>
__device__ __forceinline__ int weight_tile(const GemmArgs& args, int row_block, int tile) {
  const int in_order = row_block * kTiles + tile;
  return args.ending.gated ? in_order / 2 + in_order % 2 * (args.layout.tiles() / 2) : in_order;
}

// kGroup is 64 where groups are 128, see variant_of.
template <int kBits, int kGroup, int kTokens, int kSplit>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor) gemm_kernel(GemmArgs args) {
  using Shape = Block<kTokens, kSplit>;
  constexpr int kStages = Shape::kStages;
  constexpr int kDepth = kRingBytes / (kUnitInputs * kTileRows * kBits / 8);
  auto* const stages = shared_memory<unsigned char>();
  const int first_token = static_cast<int>(blockIdx.x) * kTokens;
  const int row_block = static_cast<int>(blockIdx.y);
  const int split = warp_index() % kSplit;
  const int tile = weight_tile<Shape::kTiles>(args, row_block, warp_index() / kSplit);
  // Of this warp; one that has no tile has none.
  const int units = row_block * Shape::kTiles + warp_index() / kSplit < args.layout.tiles()
                        ? args.layout.padded_cols() / kUnitInputs
                        : 0;
  const int steps = ceil_div(args.layout.padded_cols() / kUnitInputs, kSplit);
  const TileAddress address = tile_address(args.weight, args.layout, units > 0 ? tile : 0);

  Item<kBits, kGroup> ring[kDepth] = {};
  const auto fetch_weights = [&](int slot, int step) {
    const int unit = step * kSplit + split;
    if (unit >= units) return;
    ring[slot] = load_item<kBits, kGroup>(address, unit);
  };
  const auto stage_of = [&](int step) { return stages + step % kStages * Shape::kStageBytes; };
  const auto fetch = [&](int step) {  // a group of copies, empty behind the last step
    if (step < steps) fetch_inputs<kTokens, kSplit>(args, step, first_token, stage_of(step));
    cp_async_commit();
  };

#pragma unroll
  for (int i = 0; i < kDepth; ++i) fetch_weights(i, i);
  pdl_launch();
  pdl_wait();
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) fetch(i);

  float totals[kTokens / kCols][4] = {};
  for (int base = 0; base < steps; base += kDepth) {
#pragma unroll
    for (int i = 0; i < kDepth; ++i) {
      const int step = base + i;
      if (step >= steps) break;
      cp_async_wait<kStages - 2>();
      __syncthreads();  // the step's inputs are there, those of the step before are done with
      fetch(step + kStages - 1);
      if (step * kSplit + split < units) {
        multiply_unit<kBits, kGroup, kTokens>(
            ring[i], stage_of(step) + split * (Shape::kStageBytes / kSplit), totals);
      }
      fetch_weights(i, step + kDepth);
    }
  }
  __syncthreads();  // before sums take the place of the inputs
  auto* const sums = reinterpret_cast<float*>(stages);
  write_sums<kTokens>(totals, sums);
  __syncthreads();
  write_result<kTokens, kSplit>(args, sums, first_token, row_block);
}

struct Variant {
  void (*kernel)(GemmArgs);
  int tokens, tiles, shared_bytes;
};

template <int kBits, int kGroup, int kTokens, int kSplit>
Variant variant() {
  using Shape = Block<kTokens, kSplit>;
  return {gemm_kernel<kBits, kGroup, kTokens, kSplit>, kTokens, Shape::kTiles, Shape::kSharedBytes};
}

// The smallest block that holds all tokens, or the largest. Whether inputs are shared out changes
// the order of sums, so it must not depend on the tokens.
template <int kBits, int kGroup>
Variant variant(const GemmArgs& args) {
  if (!args.ending.gated && args.layout.tiles() <= kMostSplitTiles) {
    return args.tokens <= 16 ? variant<kBits, kGroup, 16, kWarps>()
                             : variant<kBits, kGroup, 32, kWarps>();
  }
  if (args.tokens <= 16) return variant<kBits, kGroup, 16, 1>();
  if (args.tokens <= 32) return variant<kBits, kGroup, 32, 1>();
  return variant<kBits, kGroup, 64, 1>();
}

}  // namespace

Status gemm(const Queue& queue, const GemmArgs& args) {
  if (args.tokens == 0) return {};
  const Status refused = refuse_weight("gemm", args.layout, args.ending.gated);
  if (!refused.error.empty()) return refused;
  const Variant chosen = variant_of<kUnitInputs>(args.layout, [&](auto shape) {
    return variant<decltype(shape)::kCodeBits, decltype(shape)::kGroupInputs>(args);
  });
  // Blocks that read the same weights start together.
  const dim3 grid(static_cast<unsigned>(ceil_div(args.tokens, chosen.tokens)),
                  static_cast<unsigned>(ceil_div(args.layout.tiles(), chosen.tiles)));
  const LaunchShape shape{"gemm", grid, kThreads, static_cast<std::size_t>(chosen.shared_bytes)};
  return launch(queue, shape, chosen.kernel, args);
}

}  // namespace tinychat::cuda
