// rope_append: a chunk's queries normalized and turned to their positions, its keys and values appended to the
// cache; what comes before the attention of a long prompt.
//
//   qkv [T, (H + 2G) D] float32, q [T, H D] float32 or float16, keys and values [G, S, D] float16
//   or [G, S, D + 4] int8 (the scale behind the codes); token t stands at position start + t
//
// One warp a head of a token, eight of them a block; a lane has every 32nd element. A position
// outside the cache, which the host cannot check, gives queries of NaN and appends nothing.
//
// Bound: bytes, 4 read and 2 written an element, next to nothing beside the products around it.
// Not yet run on a card.
#include "cuda/cache_rows.cuh"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "cuda/ptx.cuh"

namespace tinychat::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;

template <class Q>
__device__ __forceinline__ void write_query(const RopeAppendArgs& args, int token, int head,
                                            int position, bool inside) {
  const NewTokens& tokens = args.tokens;
  const Head x = head_of(tokens, token, head);
  const std::size_t row = static_cast<std::size_t>(token) * tokens.heads + head;
  Q* out = static_cast<Q*>(args.q) + row * tokens.head_dim;
  const Angles angles = angles_at(args.rotation, inside ? position : 0);
  for (int i = lane_index(); i < tokens.head_dim; i += kWarpLanes) {
    out[i] = from_float<Q>(inside ? rotated(x, angles, i) : NAN);
  }
}

template <class Q, class T>
__global__ void __launch_bounds__(kThreads) rope_append_kernel(RopeAppendArgs args) {
  const NewTokens& tokens = args.tokens;
  const int token = static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y) * kWarps + warp_index();
  if (head >= tokens.heads + 2 * tokens.kv_heads) return;
  pdl_launch();
  pdl_wait();
  const int position = *tokens.start + token;
  const bool inside = position >= 0 && position < args.cache.capacity;
  if (head < tokens.heads) {
    write_query<Q>(args, token, head, position, inside);
  } else if (inside) {
    const int kv_head = (head - tokens.heads) % tokens.kv_heads;
    const bool is_key = head - tokens.heads < tokens.kv_heads;
    T* row = cached_row<T>(args.cache, tokens.head_dim, is_key, kv_head, position);
    write_new_row(tokens, args.rotation, token, kv_head, is_key, position, row);
  }
}

template <class Q, class T>
Status launch_rows(const Queue& queue, const RopeAppendArgs& args) {
  const int blocks = ceil_div(args.tokens.heads + 2 * args.tokens.kv_heads, kWarps);
  const LaunchShape shape{
      "rope_append", dim3(static_cast<unsigned>(args.tokens.tokens), static_cast<unsigned>(blocks)),
      kThreads};
  return launch(queue, shape, rope_append_kernel<Q, T>, args);
}

template <class Q>
Status launch_cache(const Queue& queue, const RopeAppendArgs& args) {
  switch (args.cache.dtype) {
    case DType::kFloat16:
      return launch_rows<Q, __half>(queue, args);
    case DType::kInt8:
      return launch_rows<Q, std::int8_t>(queue, args);
    case DType::kFloat32:
    case DType::kBfloat16:
      break;
  }
  return {"rope_append: the cache is neither float16 nor int8"};
}

}  // namespace

Status rope_append(const Queue& queue, const RopeAppendArgs& args) {
  if (args.tokens.tokens == 0) return {};
  switch (args.q_dtype) {
    case DType::kFloat32:
      return launch_cache<float>(queue, args);
    case DType::kFloat16:
      return launch_cache<__half>(queue, args);
    case DType::kBfloat16:
    case DType::kInt8:
      break;
  }
  return {"rope_append: q is neither float32 nor float16"};
}

}  // namespace tinychat::cuda
