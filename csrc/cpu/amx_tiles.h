// Tile registers of AMX: the real ones, and the same in plain C++ for CPUs that have none, so that
// the kernels over them are tested everywhere.
//
// Tiles 0..3 hold sums: 16 tokens by 16 rows, int32. Tiles 4 and 5 hold activations, 16 tokens by
// up to 64 inputs; tiles 6 and 7 hold codes, up to 16 quads by 16 rows, a line of a panel each.
#pragma once

#include <cstdint>
#include <cstring>

namespace tinychat {
namespace {

constexpr int kTileTokens = 16;
constexpr int kTileInputs = 64;
constexpr int kSumTiles = 4;
constexpr int kTileCount = 8;
constexpr int kTileLine = 64;  // bytes of a full row of a tile

// What ldtilecfg reads.
struct TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  explicit TileConfig(int inputs) {
    for (int tile = 0; tile < kTileCount; ++tile) {
      const bool codes = tile >= kSumTiles + 2, activations = tile >= kSumTiles && !codes;
      rows[tile] = static_cast<std::uint8_t>(codes ? inputs / 4 : kTileTokens);
      row_bytes[tile] = static_cast<std::uint16_t>(activations ? inputs : kTileLine);
    }
  }
};
static_assert(sizeof(TileConfig) == 64, "as the processor has it");

// NOTE: Not the compiler's intrinsics. Theirs want tile numbers as literals, which templates cannot
// give, and GCC 12's `_tile_loadconfig` tells the optimizer of 8 of the 64 bytes that are read.
struct HardwareTiles {
  static void configure(const TileConfig& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
  static void release() { asm volatile("tilerelease"); }
  template <int kTile>
  static void clear() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, std::size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* to, std::size_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  // sums += activations (signed) · codes (unsigned).
  template <int kSums, int kActivations, int kCodes>
  static void multiply() {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kActivations),
                 "i"(kCodes));
  }
};

struct EmulatedTiles {
  static void configure(const TileConfig& config) {
    state().config = config;
    std::memset(state().bytes, 0, sizeof state().bytes);
  }
  static void release() { configure(TileConfig(0)); }
  template <int kTile>
  static void clear() {
    std::memset(state().bytes[kTile], 0, sizeof state().bytes[kTile]);
  }
  template <int kTile>
  static void load(const void* from, std::size_t stride) {
    State& s = state();
    clear<kTile>();
    for (int row = 0; row < s.config.rows[kTile]; ++row) {
      std::memcpy(s.bytes[kTile][row],
                  static_cast<const char*>(from) + static_cast<std::size_t>(row) * stride,
                  s.config.row_bytes[kTile]);
    }
  }
  template <int kTile>
  static void store(void* to, std::size_t stride) {
    State& s = state();
    for (int row = 0; row < s.config.rows[kTile]; ++row) {
      std::memcpy(static_cast<char*>(to) + static_cast<std::size_t>(row) * stride,
                  s.bytes[kTile][row], s.config.row_bytes[kTile]);
    }
  }
  template <int kSums, int kActivations, int kCodes>
  static void multiply() {
    State& s = state();
    for (int token = 0; token < s.config.rows[kSums]; ++token) {
      for (int row = 0; row < kTileLine / 4; ++row) {
        std::int32_t sum;
        std::memcpy(&sum, s.bytes[kSums][token] + 4 * row, sizeof sum);
        for (int i = 0; i < s.config.row_bytes[kActivations]; ++i) {
          const auto activation = static_cast<std::int8_t>(s.bytes[kActivations][token][i]);
          sum += activation * s.bytes[kCodes][i / 4][4 * row + i % 4];
        }
        std::memcpy(s.bytes[kSums][token] + 4 * row, &sum, sizeof sum);
      }
    }
  }

 private:
  struct State {
    TileConfig config{0};
    std::uint8_t bytes[kTileCount][16][kTileLine] = {};
  };
  static State& state() {
    thread_local State state;
    return state;
  }
};

}  // namespace
}  // namespace tinychat
