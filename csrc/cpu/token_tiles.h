// Tokens rounded to int8 and cut into the tiles that matmul kernels take.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/ops.h"

namespace tinychat {

// Bytes of one rounded token: its codes, scales and sums.
inline std::size_t token_bytes(const Packing& packing) {
  return packing.padded_cols() + packing.groups() * (sizeof(float) + sizeof(std::int32_t));
}

// The tokens first..first+count-1 of a chunk, which lie as one TokenTile at their place in
// `memory`.
struct TileMemory {
  std::int8_t* codes;
  float* scales;
  std::int32_t* minus_sums;
  int tokens;

  TileMemory(std::byte* memory, const Packing& packing, int first, int count) : tokens(count) {
    const auto n = static_cast<std::size_t>(count);
    std::byte* start = memory + static_cast<std::size_t>(first) * token_bytes(packing);
    codes = reinterpret_cast<std::int8_t*>(start);
    scales = reinterpret_cast<float*>(start + n * packing.padded_cols());
    minus_sums = reinterpret_cast<std::int32_t*>(scales + n * packing.groups());
  }

  TokenTile tile() const { return {tokens, codes, scales, minus_sums}; }
};

// How a chunk of tokens is cut into tiles of nearly equal size.
struct TokenTiling {
  int tokens;
  int tiles;

  TokenTiling(int count, int max_tokens)
      : tokens(count), tiles((count + max_tokens - 1) / max_tokens) {}

  int first(int tile) const {
    return static_cast<int>(static_cast<std::int64_t>(tokens) * tile / tiles);
  }
  int count(int tile) const { return first(tile + 1) - first(tile); }
};

inline void quantize_token(const Isa& isa, const MatmulArgs& args, const TileMemory& to, int first,
                           int token, PanelCodes layout) {
  const Packing& packing = args.packing;
  const float* x = args.x + static_cast<std::size_t>(first + token) * packing.cols;
  const std::size_t group = static_cast<std::size_t>(packing.group);
  const auto tokens = static_cast<std::size_t>(to.tokens);
  const auto at = static_cast<std::size_t>(token);
  const bool by_token = layout == PanelCodes::kByToken;
  for (std::size_t g = 0; g < packing.groups(); ++g) {
    const std::size_t begin = g * group;
    const int n = static_cast<int>(std::min(group, packing.cols - begin));
    const std::size_t place =
        by_token ? at * packing.padded_cols() + begin : begin * tokens + 4 * at;
    to.scales[g * tokens + at] =
        isa.quantize_group(x + begin, n, packing.group, to.codes + place,
                           by_token ? 4 : 4 * to.tokens, to.minus_sums + g * tokens + at);
  }
}

}  // namespace tinychat
