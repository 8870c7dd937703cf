// embedding: out[t] = table[ids[t]].
//
//   ids [T] int32, table [V, C] float32, float16 or bfloat16, out [T, C] float32
//
// One block of 256 threads a token; thread i moves elements 4i..4i+3 and every 1024th after them
// (one element, where rows do not divide into fours). The ids lie on the card, where sampling
// leaves them, so the host cannot check them: one outside the table gives a row of NaN.
//
// Bound: 6 or 8 bytes an element; for a single token the trip to memory for the id and the one for
// its row. Not yet run on a card.
#include "cuda/elements.cuh"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kThreads = 256;

template <int kCount, class T>
__global__ void __launch_bounds__(kThreads)
    embedding_kernel(const std::int32_t* ids, const T* table, float* out, int cols,
                     int vocabulary) {
  pdl_launch();
  pdl_wait();
  const int id = ids[blockIdx.x];
  const bool known = id >= 0 && id < vocabulary;
  const std::size_t width = static_cast<std::size_t>(cols);
  const T* from = table + (known ? static_cast<std::size_t>(id) * width : 0);
  float* to = out + static_cast<std::size_t>(blockIdx.x) * width;
  for (int col = static_cast<int>(threadIdx.x) * kCount; col < cols; col += kThreads * kCount) {
    Floats<kCount> values = load<kCount>(from + col);
    if (!known) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) values.at[i] = NAN;
    }
    store(to + col, values);
  }
}

template <class T>
Status launch_embedding(const Queue& queue, const EmbeddingArgs& args) {
  const auto* table = static_cast<const T*>(args.table);
  const bool fours = can_pack(table, args.cols, 4) && can_pack(args.out, args.cols, 4);
  const LaunchShape shape{"embedding", static_cast<unsigned>(args.rows), kThreads};
  return launch(queue, shape, fours ? embedding_kernel<4, T> : embedding_kernel<1, T>, args.ids,
                table, args.out, args.cols, args.vocabulary);
}

}  // namespace

Status embedding(const Queue& queue, const EmbeddingArgs& args) {
  if (args.rows == 0) return {};
  switch (args.dtype) {
    case DType::kFloat32:
      return launch_embedding<float>(queue, args);
    case DType::kFloat16:
      return launch_embedding<__half>(queue, args);
    case DType::kBfloat16:
      return launch_embedding<Bfloat16>(queue, args);
    case DType::kInt8:
      break;
  }
  return {"embedding: the table is int8; float32, float16 and bfloat16 are read"};
}

}  // namespace tinychat::cuda
