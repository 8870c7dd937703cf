// activation:       out = act(x) * scale;
// gated_activation: out = act(first half of the columns of x) * second half.
//
//   x [T, C] float32, gated [T, 2 C]; scale [C] or none; out [T, C]
//
// Both are act(x) times factors that lie somewhere: one kernel. A thread makes four columns that
// lie side by side (one, where rows do not divide into fours); block (t, b) of 256 threads makes
// the b-th 1024 (or 256) columns of row t.
//
// Bound: 8 bytes an element from memory, gated 12. A product that has a gate applies it by itself
// (gemv.cu), so this is for what torch multiplies and for AWQ's scales. Not yet run on a card.
#include "cuda/activation.cuh"
#include "cuda/elements.cuh"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kThreads = 256;

// A matrix whose rows start so many elements apart; 0 for one row that stands for all.
struct Strided {
  const float* data;
  std::size_t stride;
};

template <int kCount>
__global__ void __launch_bounds__(kThreads)
    activation_kernel(Strided x, Strided factors, float* out, int cols, Activation kind) {
  pdl_launch();
  pdl_wait();
  const std::size_t row = blockIdx.x;
  const int col = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * kCount;
  if (col >= cols) return;
  Floats<kCount> values = load<kCount>(x.data + row * x.stride + col);
#pragma unroll
  for (float& value : values.at) value = activate(kind, value);
  if (factors.data != nullptr) {
    const Floats<kCount> by = load<kCount>(factors.data + row * factors.stride + col);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values.at[i] *= by.at[i];
  }
  store(out + row * static_cast<std::size_t>(cols) + col, values);
}

Status launch_activation(const Queue& queue, const char* name, const Strided& x,
                         const Strided& factors, const ActivationArgs& args) {
  if (args.rows == 0 || args.cols == 0) return {};
  const bool fours = can_pack(x.data, args.cols, 4) && can_pack(factors.data, args.cols, 4) &&
                     can_pack(args.out, args.cols, 4);
  const int blocks = ceil_div(args.cols, kThreads * (fours ? 4 : 1));
  const LaunchShape shape{
      name, dim3(static_cast<unsigned>(args.rows), static_cast<unsigned>(blocks)), kThreads};
  return launch(queue, shape, fours ? activation_kernel<4> : activation_kernel<1>, x, factors,
                args.out, args.cols, args.kind);
}

}  // namespace

Status activation(const Queue& queue, const ActivationArgs& args) {
  const std::size_t cols = static_cast<std::size_t>(args.cols);
  return launch_activation(queue, "activation", {args.x, cols}, {args.scale, 0}, args);
}

Status gated_activation(const Queue& queue, const ActivationArgs& args) {
  const std::size_t cols = static_cast<std::size_t>(args.cols);
  return launch_activation(queue, "gated_activation", {args.x, 2 * cols}, {args.x + cols, 2 * cols},
                           args);
}

}  // namespace tinychat::cuda
