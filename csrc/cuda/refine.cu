// refine: logits += x W^T in the outputs of those tiles of 16 that hold the largest logits.
//
//   logits [T, N] float32, x [T, K] float32, W [N, K] in the layout of tc16.h
//
// In each row the `tiles` tiles with the largest maxima are refined, the first of equal ones; NaN
// counts as minus infinity. Where that is not all of them, there are two launches.
//
// refine_choose: block (b, t) of 32 warps finds the maxima of 256 tiles of row t, 16 lanes a tile,
// as whole numbers that are ordered like them. The last block of a row has all of these in
// registers, finds the tiles-th largest by asking, bit by bit from the top, how many reach it, and
// writes the numbers of the chosen tiles in their order. No atomics but the count of blocks.
//
// refine: block (b, t) of 8 warps adds to the chosen tiles 8b..8b+7 of row t, a warp a tile, all
// of its inputs; the activations are converted once for the eight. The product is gemv's
// (product.cuh). Tokens go their own ways, each as it would alone: they seldom choose alike.
//
// Bound: the logits from L2 and some 40 rounds over registers; then the chosen tiles' bytes from
// memory. Not yet run on a card; to be measured there: the rounds, and warps that share a tile
// where tiles are fewer than the warps of the card.
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/order.cuh"
#include "cuda/product.cuh"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"

namespace tinychat::cuda {
namespace {

// --- which tiles

constexpr int kChooseWarps = 32;
constexpr int kChooseThreads = kChooseWarps * kWarpLanes;
constexpr int kTilesPerWarp = 8;
constexpr int kTilesPerBlock = kChooseWarps * kTilesPerWarp;
constexpr int kOwnKeys = kRefineOutputs / kTileRows / kChooseThreads;  // of a thread

// The keys of the warp's tiles to memory.
__device__ __forceinline__ void write_keys(const float* row, int outputs, int tiles,
                                           unsigned* keys) {
  const int half = lane_index() / kTileRows, place = lane_index() % kTileRows;
  const int first = static_cast<int>(blockIdx.x) * kTilesPerBlock + warp_index() * kTilesPerWarp;
  constexpr int kSteps = kTilesPerWarp / 2;
  std::uint32_t largest[kSteps];
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int output = (first + 2 * i + half) * kTileRows + place;
    largest[i] = output < outputs ? key_of_logit(row[output]) : 0u;
  }
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
#pragma unroll
    for (int bit = 1; bit < kTileRows; bit *= 2) {
      const std::uint32_t other = __shfl_xor_sync(kAllLanes, largest[i], bit);
      largest[i] = largest[i] < other ? other : largest[i];
    }
    const int tile = first + 2 * i + half;
    if (place == 0 && tile < tiles) keys[tile] = largest[i];
  }
}

// The keys of the tiles from a thread's first on, 0 behind the last tile.
struct OwnKeys {
  std::uint32_t at[kOwnKeys];
};
__device__ __forceinline__ int first_own() { return static_cast<int>(threadIdx.x) * kOwnKeys; }
__device__ __forceinline__ OwnKeys read_keys(const unsigned* keys, int tiles) {
  OwnKeys own;
#pragma unroll
  for (int i = 0; i < kOwnKeys; ++i) {
    own.at[i] = first_own() + i < tiles ? keys[first_own() + i] : 0u;
  }
  return own;
}

// How many of a thread's keys pass.
template <class F>
__device__ __forceinline__ unsigned count(const OwnKeys& own, F passes) {
  unsigned sum = 0;
#pragma unroll
  for (const std::uint32_t key : own.at) sum += passes(key) ? 1u : 0u;
  return sum;
}

// The key that `wanted` keys of the block reach, and not one more if that can be. `scratch` is two
// times [kChooseWarps], in turns, so that a round has one barrier.
__device__ __forceinline__ std::uint32_t threshold(const OwnKeys& own, unsigned wanted,
                                                   unsigned* scratch) {
  std::uint32_t found = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const std::uint32_t tried = found | 1u << bit;
    const unsigned mine = count(own, [tried](std::uint32_t key) { return key >= tried; });
    const unsigned all = block_sum<kChooseWarps>(mine, scratch + bit % 2 * kChooseWarps);
    if (all >= wanted) found = tried;
    if (all == wanted) break;
  }
  return found;
}

// The sum over all threads before this one.
__device__ __forceinline__ unsigned sum_before(unsigned value, unsigned* scratch) {
  unsigned inclusive = value;
#pragma unroll
  for (int by = 1; by < kWarpLanes; by *= 2) {
    const int from = lane_index() - by;
    const unsigned other = __shfl_sync(kAllLanes, inclusive, from < 0 ? 0 : from);
    if (from >= 0) inclusive += other;
  }
  if (lane_index() == kWarpLanes - 1) scratch[warp_index()] = inclusive;
  __syncthreads();
  return warp_sum(lane_index() < warp_index() ? scratch[lane_index()] : 0u) + inclusive - value;
}

// Two counts below 2^16 in one word, which are added together.
__device__ __forceinline__ unsigned packed(unsigned larger, unsigned equal) {
  return larger << 16 | equal;
}

// The numbers of the chosen tiles, in order.
__device__ __forceinline__ void write_chosen(const OwnKeys& own, unsigned wanted, int* chosen,
                                             unsigned* scratch) {
  const std::uint32_t least = threshold(own, wanted, scratch);
  const unsigned larger = count(own, [least](std::uint32_t key) { return key > least; });
  const unsigned equal = count(own, [least](std::uint32_t key) { return key == least; });
  __syncthreads();  // before scratch is used again
  const unsigned all_larger = block_sum<kChooseWarps>(larger, scratch);
  const unsigned before = sum_before(packed(larger, equal), scratch + kChooseWarps);
  const unsigned equal_wanted = wanted - all_larger;
  unsigned larger_before = before >> 16, equal_before = before & 0xffffu;
#pragma unroll
  for (int i = 0; i < kOwnKeys; ++i) {
    const bool is_larger = own.at[i] > least, is_equal = own.at[i] == least;
    const unsigned equal_chosen = equal_before < equal_wanted ? equal_before : equal_wanted;
    if (is_larger || (is_equal && equal_before < equal_wanted)) {
      chosen[larger_before + equal_chosen] = first_own() + i;
    }
    larger_before += is_larger ? 1u : 0u;
    equal_before += is_equal ? 1u : 0u;
  }
}

__global__ void __launch_bounds__(kChooseThreads) refine_choose_kernel(RefineArgs args) {
  unsigned* scratch = shared_memory<unsigned>();  // [2, kChooseWarps], then the flag
  const int tiles = args.layout.tiles();
  const std::size_t token = blockIdx.y;
  unsigned* keys = args.keys + token * static_cast<std::size_t>(tiles);
  pdl_launch();
  pdl_wait();
  write_keys(args.logits + token * static_cast<std::size_t>(args.layout.rows), args.layout.rows,
             tiles, keys);
  if (!is_last_block(args.arrived + token, gridDim.x, scratch + 2 * kChooseWarps)) return;
  write_chosen(read_keys(keys, tiles), static_cast<unsigned>(args.tiles),
               args.chosen + token * static_cast<std::size_t>(args.tiles), scratch);
}

// --- their product

// Lanes with column 0 of the sums, which is the only token, have its rows g and g + 8.
__device__ __forceinline__ void add_to_logits(const GemvArgs& args, int tile,
                                              const float (&totals)[4]) {
  if (lane_index() % 4 != 0) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int output = tile * kTileRows + lane_index() / 4 + half * 8;
    if (output < args.layout.rows) args.out[output] += totals[2 * half];
  }
}

// `chosen` is null where all tiles are.
template <int kBits, int kGroup>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    refine_kernel(GemvArgs args, const int* chosen, int tiles, Slice slice, bool fours) {
  using Shape = ItemShape<kBits, kGroup>;
  constexpr int kDepth = ring_depth<Shape>(1);  // of the ring of items on their way
  const Shared shared = shared_parts(slice);
  const std::size_t token = blockIdx.y;
  const int place = static_cast<int>(blockIdx.x) * kWarps + warp_index();
  args.x = token_row(args, static_cast<int>(token));
  args.out += token * static_cast<std::size_t>(args.layout.rows);
  pdl_launch();
  pdl_wait();
  const bool busy = place < tiles;
  int tile = busy ? place : 0;
  if (busy && chosen != nullptr) {
    tile = chosen[token * static_cast<std::size_t>(tiles) + static_cast<std::size_t>(place)];
  }
  const TileAddress address = tile_address(args.weight, args.layout, tile);
  const int items = args.layout.padded_cols() / Shape::kInputs;
  const int slice_items = slice.inputs / Shape::kInputs;
  Item<kBits, kGroup> ring[kDepth][1] = {};
  const auto fetch = [&](int slot, int item, int end) {
    if (item < end) ring[slot][0] = load_item<kBits, kGroup>(address, item, item * Shape::kGroups);
  };

  float totals[1][4] = {};
  for (int first = 0; first < items; first += slice_items) {
    const int last = items - first < slice_items ? items : first + slice_items;
    const int end = busy ? last : first;
#pragma unroll
    for (int i = 0; i < kDepth; ++i) fetch(i, first + i, end);
    if (fours) {
      stage_inputs<kGroup, true>(args, first * Shape::kInputs, slice, shared);
    } else {
      stage_inputs<kGroup, false>(args, first * Shape::kInputs, slice, shared);
    }
    __syncthreads();
    for (int base = first; base < end; base += kDepth) {
#pragma unroll
      for (int i = 0; i < kDepth; ++i) {
        const int item = base + i;
        if (item >= end) break;
        multiply_item(ring[i], (item - first) * Shape::kInputs, slice, shared, totals);
        fetch(i, item + kDepth, end);
      }
    }
    __syncthreads();  // before others take the place of the inputs
  }
  if (busy) add_to_logits(args, tile, totals[0]);
}

using Kernel = void (*)(GemvArgs, const int*, int, Slice, bool);

// A token's own, as gemv's: neither norm nor order, bias nor gate.
GemvArgs product_of(const RefineArgs& args) {
  GemvArgs product{};
  product.x = args.x;
  product.weight = args.weight;
  product.layout = args.layout;
  product.out = args.logits;
  product.tokens = 1;
  return product;
}

Status choose_tiles(const Queue& queue, const RefineArgs& args) {
  const int blocks = ceil_div(args.layout.tiles(), kTilesPerBlock);
  const LaunchShape shape{"refine_choose",
                          dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(args.tokens)),
                          kChooseThreads, (2 * kChooseWarps + 1) * sizeof(unsigned)};
  return launch(queue, shape, refine_choose_kernel, args);
}

Status add_products(const Queue& queue, const RefineArgs& args, const int* chosen, int tiles) {
  const GemvArgs product = product_of(args);
  const Kernel kernel = variant_of(args.layout, [](auto shape) -> Kernel {
    return refine_kernel<decltype(shape)::kCodeBits, decltype(shape)::kGroupInputs>;
  });
  const bool fours = can_load_fours(product.x, inputs_of(product));
  const Slice slice = choose_slice(product, 1);
  const int blocks = ceil_div(tiles, kWarps);
  const LaunchShape shape{"refine",
                          dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(args.tokens)),
                          kThreads, static_cast<std::size_t>(shared_bytes(slice, 1))};
  return launch(queue, shape, kernel, product, chosen, tiles, slice, fours);
}

}  // namespace

Status refine(const Queue& queue, const RefineArgs& args) {
  if (args.tokens == 0) return {};
  if (Status wrong = check_product("refine", args.layout, args.tokens); !wrong.error.empty()) {
    return wrong;
  }
  if (args.layout.rows > kRefineOutputs) {
    return {"refine: " + std::to_string(args.layout.rows) + " outputs; at most " +
            std::to_string(kRefineOutputs) + " are chosen from"};
  }
  const int all = args.layout.tiles();
  if (args.tiles >= all) return add_products(queue, args, nullptr, all);
  if (Status wrong = choose_tiles(queue, args); !wrong.error.empty()) return wrong;
  return add_products(queue, args, args.chosen, args.tiles);
}

}  // namespace tinychat::cuda
