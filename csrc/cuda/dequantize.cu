// dequantize: out = (q - z) scale, some rows of a weight as float16, rounded once.
//
//   W [N, K] of 4 or 8 bits in the layout of tc16.h, out [rows, out_cols] float16: the rows from
//   first_row on, zeros from column K on
//
// For long chunks of a prompt: a part of the weight at a time becomes float16, which a library then
// multiplies by, and what that costs is shared by many tokens.
//
// A warp makes 64 inputs of a tile of 16 rows. It reads them as A operands (tc16.cuh), in which a
// lane has two neighbouring inputs at a time, and brings them into rows in shared memory, so that
// eight lanes write 128 bytes side by side. Blocks are 8 warps and 512 inputs of a tile.
//
// Bound: bytes, those of the codes once and two for each element; for 4 bits 2.5 an element, most
// of them written. Not yet run on a card.
#include "cuda/launch.h"
#include "cuda/operands.cuh"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"
#include "cuda/tc16.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpLanes;
constexpr int kChunk = 8;  // elements that a lane writes at a time: 16 bytes
constexpr int kRowChunks = kUnitInputs / kChunk;
// Of a row in shared memory; the gap brings the rows that a warp writes to into different banks.
constexpr int kRowWords = kUnitInputs / 2 + 4;

// The lane's part of 64 inputs, times the scales, into rows of words [16, kRowWords].
template <int kBits, int kGroup>
__device__ __forceinline__ void dequantize_unit(const Item<kBits, kGroup>& item,
                                                std::uint32_t* words) {
  constexpr int kFragmentWords = kBits / 4;
  const int row = lane_index() / 4, pair = lane_index() % 4;
#pragma unroll
  for (int f = 0; f < kUnitInputs / kFragmentInputs; ++f) {
    const GroupScales group = group_scales<kBits>(item.scales[f * kFragmentInputs / kGroup]);
    std::uint32_t a[4];
    dequantize<kBits>(item.words + f * kFragmentWords, group, a);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const __half2 scale = __float2half2_rn(group.scales[i % 2]);
      words[(row + i % 2 * 8) * kRowWords + f * (kFragmentInputs / 2) + i / 2 * 4 + pair] =
          word_of(__hmul2(half2_of(a[i]), scale));
    }
  }
}

// Eight elements of a row of out, from column `col` on, as far as the row goes.
template <bool kWhole>
__device__ __forceinline__ void write_chunk(const std::uint32_t* words, __half* row, int col,
                                            int out_cols) {
  if constexpr (kWhole) {
    if (col < out_cols) {
      *reinterpret_cast<uint4*>(row + col) = *reinterpret_cast<const uint4*>(words);
    }
  } else {
    const auto* const values = reinterpret_cast<const __half*>(words);
    for (int i = 0; i < kChunk && col + i < out_cols; ++i) row[col + i] = values[i];
  }
}

template <bool kWhole>
__device__ __forceinline__ void write_unit(const DequantizeArgs& args, const std::uint32_t* words,
                                           int tile, int unit) {
#pragma unroll
  for (int i = lane_index(); i < kTileRows * kRowChunks; i += kWarpLanes) {
    const int in_tile = i / kRowChunks, chunk = i % kRowChunks;
    const int row = tile * kTileRows + in_tile;
    if (row >= args.rows) continue;
    __half* const out = static_cast<__half*>(args.out) +
                        static_cast<std::size_t>(row) * static_cast<std::size_t>(args.out_cols);
    write_chunk<kWhole>(words + in_tile * kRowWords + chunk * (kChunk / 2), out,
                        unit * kUnitInputs + chunk * kChunk, args.out_cols);
  }
}

// kGroup is 64 where groups are 128, see variant_of.
template <int kBits, int kGroup, bool kWhole>
__global__ void __launch_bounds__(kThreads) dequantize_kernel(DequantizeArgs args) {
  const Tc16& layout = args.layout;
  std::uint32_t* const words =
      shared_memory<std::uint32_t>() + warp_index() * kTileRows * kRowWords;
  const int tile = static_cast<int>(blockIdx.x);
  const int unit = static_cast<int>(blockIdx.y) * kWarps + warp_index();
  pdl_launch();
  if (unit * kUnitInputs >= layout.padded_cols()) return;
  const TileAddress address = tile_address(args.weight, layout, args.first_row / kTileRows + tile);
  const auto item = load_item<kBits, kGroup>(address, unit);
  dequantize_unit(item, words);
  __syncwarp();
  pdl_wait();
  write_unit<kWhole>(args, words, tile, unit);
}

using Kernel = void (*)(DequantizeArgs);

}  // namespace

Status dequantize(const Queue& queue, const DequantizeArgs& args) {
  const Tc16& layout = args.layout;
  const Status refused = refuse_weight("dequantize", layout, false);
  if (!refused.error.empty()) return refused;
  if (args.first_row < 0 || args.first_row % kTileRows != 0 || args.rows < 0 ||
      args.rows > layout.rows - args.first_row) {
    return {"dequantize: rows " + std::to_string(args.first_row) + " to " +
            std::to_string(args.first_row + args.rows) + " of " + std::to_string(layout.rows) +
            "; the first is a multiple of 16, and none lies behind the end"};
  }
  if (args.out_cols < layout.cols || args.out_cols > layout.padded_cols()) {
    return {"dequantize: " + std::to_string(args.out_cols) + " columns for " +
            std::to_string(layout.cols) + " inputs; at most " +
            std::to_string(layout.padded_cols()) + " are written"};
  }
  if (args.rows == 0) return {};
  const bool whole = can_pack(static_cast<const __half*>(args.out), args.out_cols, kChunk);
  const Kernel kernel = variant_of<kUnitInputs>(layout, [&](auto shape) -> Kernel {
    constexpr int kBits = decltype(shape)::kCodeBits, kGroup = decltype(shape)::kGroupInputs;
    return whole ? dequantize_kernel<kBits, kGroup, true> : dequantize_kernel<kBits, kGroup, false>;
  });
  const auto tiles = static_cast<unsigned>(ceil_div(args.rows, kTileRows));
  const auto parts = static_cast<unsigned>(ceil_div(layout.padded_cols(), kWarps * kUnitInputs));
  const LaunchShape shape{"dequantize", dim3(tiles, parts), kThreads,
                          kWarps * kTileRows * kRowWords * sizeof(std::uint32_t)};
  return launch(queue, shape, kernel, args);
}

}  // namespace tinychat::cuda
