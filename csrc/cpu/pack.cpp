// pack: from codes, scales and zeros of a matrix to the layout of w4.h; unpack: exactly back.
#include <algorithm>
#include <cstring>

#include "cpu/ops.h"

namespace tinychat {
namespace {

// One row inside one tile, for both directions.
struct Row {
  std::uint8_t* codes;
  std::uint16_t* scales;
  std::uint8_t* zeros;
  std::uint8_t* tile;
  int lane;

  Row(const PackArgs& args, int row)
      : codes(args.codes + static_cast<std::size_t>(row) * args.packing.cols),
        scales(args.scales + static_cast<std::size_t>(row) * args.groups),
        zeros(args.zeros + static_cast<std::size_t>(row) * args.groups),
        tile(args.packed + static_cast<std::size_t>(row / kTileRows) * args.packing.tile_bytes()),
        lane(row % kTileRows) {}

  std::uint8_t* scale(const Packing& packing, std::size_t g) const {
    return tile + packing.scales(g) + 2 * lane;
  }
  std::uint8_t* zero(const Packing& packing, std::size_t g) const {
    return tile + packing.zeros(g) + lane;
  }
  // This row's part of the first line of a group; that of the next line is kLineBytes further.
  std::uint8_t* lines(const Packing& packing, std::size_t g) const {
    return tile + packing.lines(g) + 4 * lane;
  }
};

// Up to a step's codes of one row, four of them a word.
struct Step {
  std::uint32_t quads[kStepQuads] = {};
};

// kWidth bits of each code, from bit kFrom on, between a step and as many lines of the layout.
template <int kWidth, int kFrom = 0>
struct Field {
  static constexpr int kQuadsPerLine = 8 / kWidth;
  static constexpr std::uint32_t kMask = 0x01010101u * ((1u << kWidth) - 1);

  static void pack(const Step& step, std::uint8_t* lines) {
    for (int i = 0; i < kWidth; ++i) {
      std::uint32_t word = 0;
      for (int q = 0; q < kQuadsPerLine; ++q) {
        word |= (step.quads[i * kQuadsPerLine + q] >> kFrom & kMask) << q * kWidth;
      }
      std::memcpy(lines + i * kLineBytes, &word, sizeof word);
    }
  }

  static void unpack(const std::uint8_t* lines, Step* step) {
    for (int i = 0; i < kWidth; ++i) {
      std::uint32_t word;
      std::memcpy(&word, lines + i * kLineBytes, sizeof word);
      for (int q = 0; q < kQuadsPerLine; ++q) {
        step->quads[i * kQuadsPerLine + q] |= (word >> q * kWidth & kMask) << kFrom;
      }
    }
  }
};

void pack_step(int bits, const Step& step, std::uint8_t* lines) {
  switch (bits) {
    case 2:
      return Field<2>::pack(step, lines);
    case 3:
      Field<2>::pack(step, lines);
      return Field<1, 2>::pack(step, lines + 2 * kLineBytes);
    case 4:
      return Field<4>::pack(step, lines);
    case 8:
      return Field<8>::pack(step, lines);
  }
}

void unpack_step(int bits, const std::uint8_t* lines, Step* step) {
  switch (bits) {
    case 2:
      return Field<2>::unpack(lines, step);
    case 3:
      Field<2>::unpack(lines, step);
      return Field<1, 2>::unpack(lines + 2 * kLineBytes, step);
    case 4:
      return Field<4>::unpack(lines, step);
    case 8:
      return Field<8>::unpack(lines, step);
  }
}

// Calls f(k, n, lines) for the steps of one group of a row: inputs k..k+n-1 and their lines.
template <class F>
void for_steps(const Packing& packing, std::size_t g, std::uint8_t* lines, F f) {
  const int begin = static_cast<int>(g) * packing.group;
  const int end = std::min(packing.cols, begin + packing.group);
  for (int k = begin; k < end; k += kStepInputs, lines += packing.step_bytes()) {
    f(k, static_cast<std::size_t>(std::min(kStepInputs, end - k)), lines);
  }
}

// A whole step is copied as a number of bytes that the compiler knows: the call that any other
// number takes would cost as much as the rest of the step.
void copy_codes(void* to, const void* from, std::size_t n) {
  if (n == kStepInputs) {
    std::memcpy(to, from, kStepInputs);
  } else {
    std::memcpy(to, from, n);
  }
}

void pack_row(const PackArgs& args, int row) {
  const Packing& packing = args.packing;
  const Row place(args, row);
  for (std::size_t g = 0; g < packing.groups(); ++g) {
    const std::size_t from = args.groups == 1 ? 0 : g;
    std::memcpy(place.scale(packing, g), place.scales + from, sizeof(std::uint16_t));
    *place.zero(packing, g) = place.zeros[from];
    for_steps(packing, g, place.lines(packing, g), [&](int k, std::size_t n, std::uint8_t* lines) {
      Step step;
      copy_codes(step.quads, place.codes + k, n);
      pack_step(packing.bits, step, lines);
    });
  }
}

void unpack_row(const PackArgs& args, int row) {
  const Packing& packing = args.packing;
  const Row place(args, row);
  for (int g = 0; g < args.groups; ++g) {
    const auto group = static_cast<std::size_t>(g);
    std::memcpy(place.scales + g, place.scale(packing, group), sizeof(std::uint16_t));
    place.zeros[g] = *place.zero(packing, group);
  }
  for (std::size_t g = 0; g < packing.groups(); ++g) {
    for_steps(packing, g, place.lines(packing, g), [&](int k, std::size_t n, std::uint8_t* lines) {
      Step step;
      unpack_step(packing.bits, lines, &step);
      copy_codes(place.codes + k, step.quads, n);
    });
  }
}

}  // namespace

void pack(Team& team, const Isa&, const PackArgs& args) noexcept {
  const std::size_t bytes = args.packing.tile_bytes();
  team.for_each(static_cast<int>(args.packing.tiles()), 1, [&](Range tiles) {
    for (int tile = tiles.begin; tile < tiles.end; ++tile) {
      std::memset(args.packed + static_cast<std::size_t>(tile) * bytes, 0, bytes);
      const int end = std::min(args.packing.rows, (tile + 1) * kTileRows);
      for (int row = tile * kTileRows; row < end; ++row) pack_row(args, row);
    }
  });
}

void unpack(Team& team, const Isa&, const PackArgs& args) noexcept {
  team.for_each(args.packing.rows, kTileRows, [&](Range rows) {
    for (int row = rows.begin; row < rows.end; ++row) unpack_row(args, row);
  });
}

}  // namespace tinychat
