// norm: rms, out = x / sqrt(mean(x^2) + eps) * weight;
//       layer, out = (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias.
//
//   x [T, C] float32, weight [C], bias [C] or none, out [T, C] float32
//
// One block of 256 threads a row; thread i takes elements 4i..4i+3 and every 1024th after them (one
// element, where rows do not divide into fours), once for each sum and once for the result. From
// the second time on its own part of x comes out of L1.
//
// Bound: 8 bytes an element; for a single row the trips to memory one after the other, some
// microseconds. A product normalizes what it reads by itself (row_norm.cuh), so this is for the
// last norm of a model and for what torch multiplies. Not yet run on a card.
#include "cuda/elements.cuh"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"
#include "cuda/row_norm.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kThreads = 256;

template <int kCount>
__global__ void __launch_bounds__(kThreads)
    norm_kernel(const float* x, Norm norm, float* out, int cols) {
  float* scratch = shared_memory<float>();  // [kThreads / 32]
  const std::size_t row = static_cast<std::size_t>(blockIdx.x) * static_cast<std::size_t>(cols);
  pdl_launch();
  pdl_wait();
  const RowStatistics statistics = measure_row<kCount, kThreads>(x + row, norm, cols, scratch);
  for (int col = static_cast<int>(threadIdx.x) * kCount; col < cols; col += kThreads * kCount) {
    const Floats<kCount> values = load<kCount>(x + row + col);
    store(out + row + col, normalized(values, norm, statistics, col));
  }
}

}  // namespace

Status norm(const Queue& queue, const NormArgs& args) {
  if (args.rows == 0) return {};
  const bool fours = can_pack(args.x, args.cols, 4) && can_pack(args.norm.weight, args.cols, 4) &&
                     can_pack(args.norm.bias, args.cols, 4) && can_pack(args.out, args.cols, 4);
  const LaunchShape shape{"norm", static_cast<unsigned>(args.rows), kThreads,
                          kThreads / kWarpLanes * sizeof(float)};
  return launch(queue, shape, fours ? norm_kernel<4> : norm_kernel<1>, args.x, args.norm, args.out,
                args.cols);
}

}  // namespace tinychat::cuda
