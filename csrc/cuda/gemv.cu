// gemv: out = y W^T + bias, with y = norm(x)[:, order] of 1 to 8 tokens; or act(gate) * up of the
// two halves of it; or out += it. The product of decoding: of a token, or of the few that are
// checked together.
//
//   x [T, K] float32, order [K] int32 or none, W [N, K] of 4 or 8 bits in the layout of tc16.h,
//   bias [N] or none, out [T, N] float32, gated [T, N / 2]
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
#include "cuda/launch.h"
#include "cuda/operands.cuh"
#include "cuda/ops.h"
#include "cuda/product.cuh"
#include "cuda/ptx.cuh"

namespace tinychat::cuda {
namespace {

// The totals of all warps, one output a thread.
template <int kTiles>
__device__ __forceinline__ void write_result(const GemvArgs& args, const Shared& shared) {
  const int outputs = args.layout.rows / kTiles, size = args.tokens * kTileRows;
  const int place = static_cast<int>(threadIdx.x);  // token * kTileRows + row
  const int output = static_cast<int>(blockIdx.x) * kTileRows + place % kTileRows;
  if (place >= size || output >= outputs) return;
  finish(args.ending, kTiles == 2, place / kTileRows, output, outputs, [&](int tile) {
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      sum += shared.sums[(warp * kTiles + tile) * size + place];
    }
    return sum;
  });
}
static_assert(kGemvTokens * kTileRows <= kThreads, "each output of a block has a thread");

template <int kBits, int kGroup, int kTiles>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    gemv_kernel(GemvArgs args, Slice slice, bool fours) {
  const Shared shared = shared_parts(slice);
  TileAddress tiles[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    tiles[i] = tile_address(args.weight, args.layout,
                            static_cast<int>(blockIdx.x + static_cast<unsigned>(i) * gridDim.x));
  }
  const auto await_inputs = [&] {
    pdl_launch();
    pdl_wait();
    if (args.norm.weight != nullptr) measure_rows(args, shared, fours);
  };
  float totals[kTiles][4] = {};
  multiply_slices<kWarps, kBits, kGroup>(args, slice, shared, fours, tiles, warp_index(), true,
                                         await_inputs, totals);
  write_sums(totals, slice, shared);
  __syncthreads();
  write_result<kTiles>(args, shared);
}

using Kernel = void (*)(GemvArgs, Slice, bool);

}  // namespace

Status gemv(const Queue& queue, const GemvArgs& args) {
  if (args.tokens == 0) return {};
  Status wrong = check_product("gemv", args.layout, args.tokens, args.ending.gated);
  if (!wrong.error.empty()) return wrong;
  const Kernel kernel = variant_of(args.layout, [&](auto shape) -> Kernel {
    constexpr int kBits = decltype(shape)::kCodeBits, kGroup = decltype(shape)::kGroupInputs;
    return args.ending.gated ? gemv_kernel<kBits, kGroup, 2> : gemv_kernel<kBits, kGroup, 1>;
  });
  const int tiles = args.ending.gated ? 2 : 1;
  const bool fours = can_load_fours(args.x, inputs_of(args));
  const Slice slice = choose_slice(args, tiles);
  const LaunchShape shape{"gemv", static_cast<unsigned>(args.layout.tiles() / tiles), kThreads,
                          static_cast<std::size_t>(shared_bytes(slice, tiles))};
  return launch(queue, shape, kernel, args, slice, fours);
}

}  // namespace tinychat::cuda
