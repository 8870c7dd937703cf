// rope_append: a chunk's queries normalized and turned to their positions, its keys and values
// appended to the cache; what comes before the attention of a long prompt.
//
//   q[t, h] = turn(norm(q[t, h])), cached k[g, p] = turn(norm(k[t, g])), cached v[g, p] = v[t, g]
//     p = start + t
//     norm(x) = x / sqrt(mean(x^2) + eps) weight, or x where there is no weight
//     turn: (x[i], x[i + half]) = (a, b) -> (a cos[p, i] - b sin[p, i], b cos[p, i] + a sin[p, i])
//
//   qkv [T, (H + 2G) D] float32, weights [D], cos and sin [S, half], start [1], q [T, H D] float16,
//   keys and values [G, S, D] float16 or [G, S, D + 4] int8 (the scale behind the codes)
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

__device__ __forceinline__ void write_query(const RopeAppendArgs& args, int token, int head,
                                            int position) {
  const NewTokens& tokens = args.tokens;
  const std::size_t row = static_cast<std::size_t>(token) * tokens.heads + head;
  __half* out = static_cast<__half*>(args.q) + row * tokens.head_dim;
  if (has_place(args.cache, position)) {
    const Head query = measure_head(tokens, args.rotation, token, head, position);
    write_row(query, tokens.head_dim, out);
  } else {
    for (int i = lane_index(); i < tokens.head_dim; i += kWarpLanes) {
      out[i] = from_float<__half>(NAN);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) rope_append_kernel(RopeAppendArgs args) {
  const NewTokens& tokens = args.tokens;
  const int token = static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y) * kWarps + warp_index();
  if (head >= tokens.heads + 2 * tokens.kv_heads) return;
  pdl_launch();
  pdl_wait();
  const int position = *tokens.start + token;
  if (head < tokens.heads) {
    write_query(args, token, head, position);
  } else if (has_place(args.cache, position)) {
    const int kv_head = (head - tokens.heads) % tokens.kv_heads;
    const bool is_key = head - tokens.heads < tokens.kv_heads;
    T* row = cached_row<T>(args.cache, tokens.head_dim, is_key, kv_head, position);
    write_row(measure_head(tokens, args.rotation, token, head, position), tokens.head_dim, row);
  }
}

}  // namespace

Status rope_append(const Queue& queue, const RopeAppendArgs& args) {
  if (args.tokens.tokens == 0) return {};
  const int blocks = ceil_div(args.tokens.heads + 2 * args.tokens.kv_heads, kWarps);
  const LaunchShape shape{
      "rope_append", dim3(static_cast<unsigned>(args.tokens.tokens), static_cast<unsigned>(blocks)),
      kThreads};
  return for_rows_of(args.cache, "rope_append", [&](auto element) {
    return launch(queue, shape, rope_append_kernel<decltype(element)>, args);
  });
}

}  // namespace tinychat::cuda
