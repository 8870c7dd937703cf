// AVX-512 with VNNI, and the int8 matrix units of AMX for many tokens: Intel servers since 2023.
#include <cstring>
#include <utility>

#include "cpu/amx_tiles.h"
#include "cpu/ops.h"
#include "cpu/vector512.h"

namespace tinychat {
namespace {

// --- matmul ---

// Codes of a tile of rows into a panel.
template <int kBits>
struct Unpack {
  template <int... kQuads>
  static void unpack_step(const std::uint8_t* step, std::uint8_t* panel,
                          std::integer_sequence<int, kQuads...>) {
    // Four tokens: a number for which no code is left further up in its byte.
    using Tile = MatmulTile<Vector512, kBits, 4>;
    (_mm512_storeu_si512(panel + kQuads * kLineBytes, Tile::template load_quad<kQuads>(step)), ...);
  }

  static void run(const Packing& packing, const std::uint8_t* tile, int first_group, int groups,
                  std::uint8_t* panel) {
    for (int g = first_group; g < first_group + groups; ++g) {
      const std::uint8_t* step = tile + packing.lines(static_cast<std::size_t>(g));
      for (int s = 0; s < packing.group / kStepInputs; ++s) {
        unpack_step(step, panel, std::make_integer_sequence<int, kStepQuads>());
        step += packing.step_bytes();
        panel += kStepQuads * kLineBytes;
      }
    }
  }
};

// Two tiles of rows by up to 32 tokens: each half of the tokens against each tile of rows is a
// tile of sums, so that whatever is loaded serves two products. Sums leave the tiles at every
// group, because every group has scales of its own; the next group's products are begun before
// that, for the vector units to work on one group while the tiles work on the next.
template <class Tiles>
struct AmxPanels {
  using V = Vector512;
  static_assert(kPanelTiles == 2 && kPanelTokens == 2 * kTileTokens,
                "what fills the tiles of sums");

  // Sums of one tile of rows and half the tokens.
  using Sums = std::int32_t[kTileTokens][kTileRows];

  static void begin(const Packing& packing) {
    Tiles::configure(TileConfig(packing.group < kTileInputs ? packing.group : kTileInputs));
  }
  static void end() { Tiles::release(); }

  template <bool kBothHalves>
  static void multiply_inputs(const Packing& packing, const std::int8_t* codes,
                              const std::uint8_t* const* panels, Sums* sums) {
    const int inputs = packing.group < kTileInputs ? packing.group : kTileInputs;
    const std::size_t stride = packing.padded_cols();
    Tiles::template clear<0>();
    Tiles::template clear<1>();
    if constexpr (kBothHalves) {
      Tiles::template clear<2>();
      Tiles::template clear<3>();
    }
    for (int k = 0; k < packing.group; k += inputs) {
      Tiles::template load<4>(codes + k, stride);
      Tiles::template load<6>(panels[0] + k * kTileRows, kLineBytes);
      Tiles::template load<7>(panels[1] + k * kTileRows, kLineBytes);
      Tiles::template multiply<0, 4, 6>();
      Tiles::template multiply<1, 4, 7>();
      if constexpr (kBothHalves) {
        Tiles::template load<5>(codes + kTileTokens * stride + k, stride);
        Tiles::template multiply<2, 5, 6>();
        Tiles::template multiply<3, 5, 7>();
      }
    }
    Tiles::template store<0>(sums[0], kLineBytes);
    Tiles::template store<1>(sums[1], kLineBytes);
    if constexpr (kBothHalves) {
      Tiles::template store<2>(sums[2], kLineBytes);
      Tiles::template store<3>(sums[3], kLineBytes);
    }
  }

  // work.sums += the group's sums less its zeros, times its scales.
  static void add_group(const PanelWork& work, std::size_t g, const Sums* sums) {
    const int tokens = work.x.tokens;
    const float* scales = work.x.scales + g * static_cast<std::size_t>(tokens);
    const std::int32_t* minus_sums = work.x.minus_sums + g * static_cast<std::size_t>(tokens);
    for (int tile = 0; tile < 2; ++tile) {
      const V::Float row_scales = V::load_scales(work.tiles[tile] + work.packing.scales(g));
      const V::Int zeros = V::load_zeros(work.tiles[tile] + work.packing.zeros(g));
      for (int t = 0; t < tokens; ++t) {
        const std::int32_t* found = sums[t / kTileTokens * 2 + tile][t % kTileTokens];
        const V::Int dots = V::sum(V::load(reinterpret_cast<const std::uint8_t*>(found)),
                                   V::times(zeros, minus_sums[t]));
        float* to = work.sums + (t * 2 + tile) * kTileRows;
        V::store(to, V::add_scaled(V::load_floats(to), dots, scales[t], row_scales));
      }
    }
  }

  // The sums of the work's group number i.
  static void multiply_group(const PanelWork& work, int i, Sums* sums) {
    const std::size_t before = static_cast<std::size_t>(i * work.packing.group);
    const std::size_t first = static_cast<std::size_t>(work.first_group * work.packing.group);
    const std::int8_t* codes = work.x.codes + first + before;
    const std::uint8_t* panels[] = {work.panels[0] + before * kTileRows,
                                    work.panels[1] + before * kTileRows};
    if (work.x.tokens > kTileTokens) {
      multiply_inputs<true>(work.packing, codes, panels, sums);
    } else {
      multiply_inputs<false>(work.packing, codes, panels, sums);
    }
  }

  static void multiply(const PanelWork& work) {
    alignas(kLineBytes) Sums sums[2][kSumTiles];
    multiply_group(work, 0, sums[0]);
    for (int i = 0; i < work.groups; ++i) {
      if (i + 1 < work.groups) multiply_group(work, i + 1, sums[(i + 1) % 2]);
      add_group(work, static_cast<std::size_t>(work.first_group + i), sums[i % 2]);
    }
  }
};

// See Isa::multiply_registers.
std::int64_t multiply_tiles(int rounds) {
  using Tiles = HardwareTiles;
  constexpr std::int64_t kProductsPerTile = kTileTokens * kTileRows * kTileInputs;
  std::uint8_t ones[kTileTokens * kTileLine];
  std::memset(ones, 1, sizeof ones);
  Tiles::configure(TileConfig(kTileInputs));
  Tiles::load<4>(ones, kTileLine);
  Tiles::load<5>(ones, kTileLine);
  Tiles::load<6>(ones, kTileLine);
  Tiles::load<7>(ones, kTileLine);
  for (int round = 0; round < rounds; ++round) {
    Tiles::multiply<0, 4, 6>();
    Tiles::multiply<1, 4, 7>();
    Tiles::multiply<2, 5, 6>();
    Tiles::multiply<3, 5, 7>();
  }
  Tiles::release();
  return rounds * kSumTiles * kProductsPerTile * 2;
}

template <class Tiles>
Isa with_tiles(const char* name) {
  Isa isa = avx512_vnni_isa();
  isa.name = name;
  // --- matmul ---
  using Panels = AmxPanels<Tiles>;
  isa.begin_panels = Panels::begin;
  isa.multiply_panels = Panels::multiply;
  isa.end_panels = Panels::end;
  isa.unpack_panel[2] = Unpack<2>::run;
  isa.unpack_panel[3] = Unpack<3>::run;
  isa.unpack_panel[4] = Unpack<4>::run;
  isa.unpack_panel[8] = Unpack<8>::run;
  return isa;
}

}  // namespace

Isa amx_isa() {
  Isa isa = with_tiles<HardwareTiles>("amx");
  // --- int8_rate ---
  isa.multiply_registers = multiply_tiles;
  return isa;
}

Isa emulated_amx_isa() { return with_tiles<EmulatedTiles>("emulated_amx"); }

}  // namespace tinychat
