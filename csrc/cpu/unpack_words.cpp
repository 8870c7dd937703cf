// The 32-bit words of checkpoint files to codes, a byte each: unpack_rows, where a row is a stream
// of bits, and unpack_awq, where a word holds the codes of eight rows.
//
// Words mostly lie the other way round than codes. So both go in tiles that are turned in the
// first-level cache, and read and write whole cache lines.
#include <algorithm>
#include <cstring>

#include "cpu/ops.h"

namespace tinychat {
namespace {

constexpr int kWordsPerLine = kLineBytes / static_cast<int>(sizeof(std::uint32_t));

// --- unpack_rows ---

constexpr int kStreams = 4 * kWordsPerLine;  // rows of a tile
constexpr int kEights = 32;                  // codes of a row in a tile, in eights

// Eight codes of kBits, low ones first, to a byte each: their halves move apart, then the halves'
// halves. Codes of 8 bits stay where they are.
template <int kBits>
std::uint64_t spread(std::uint64_t codes) {
  constexpr std::uint64_t kQuad = (1ull << 4 * kBits) - 1;
  constexpr std::uint64_t kPair = (1ull << 2 * kBits) - 1;
  constexpr std::uint64_t kOne = (1ull << kBits) - 1;
  codes = (codes | codes << (32 - 4 * kBits)) & kQuad * 0x0000000100000001u;
  codes = (codes | codes << (16 - 2 * kBits)) & kPair * 0x0001000100010001u;
  return (codes | codes << (8 - kBits)) & kOne * 0x0101010101010101u;
}

// The codes `first`.. of the rows of one tile. Eight codes of any width are whole bytes.
template <int kBits>
void unpack_tile(const UnpackRowsArgs& args, int row, int rows, int first) {
  constexpr int kWords = kEights * kBits / 4;
  // One word more, so that eight bytes can be read wherever a code begins.
  std::uint32_t streams[kStreams][kWords + 1];
  const int codes = std::min(8 * kEights, args.codes_per_row() - first);
  const int words = codes * kBits / 32;
  const std::uint32_t* from =
      args.words + row * args.row_stride + first / 32 * kBits * args.word_stride;
  for (int word = 0; word < words; ++word) {
    for (int r = 0; r < rows; ++r) {
      streams[r][word] = from[r * args.row_stride + word * args.word_stride];
    }
  }
  for (int r = 0; r < rows; ++r) {
    std::uint8_t* to =
        args.codes + static_cast<std::size_t>(row + r) * args.codes_per_row() + first;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(streams[r]);
    const auto unpack_some = [&](int code, int n) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, bytes + code / 8 * kBits, kBits);
      eight = spread<kBits>(eight);
      std::memcpy(to + code, &eight, static_cast<std::size_t>(n));
    };
    int code = 0;
    for (; code + 8 <= codes; code += 8) unpack_some(code, 8);
    if (code < codes) unpack_some(code, codes - code);
  }
}

using UnpackTile = void(const UnpackRowsArgs& args, int row, int rows, int first);
UnpackTile* unpack_tile_of(int bits) {
  switch (bits) {
    case 2:
      return unpack_tile<2>;
    case 3:
      return unpack_tile<3>;
    case 4:
      return unpack_tile<4>;
    default:
      return unpack_tile<8>;
  }
}

// The columns of a row in another order.
void reorder(const std::int32_t* order, int n, std::uint8_t* row, std::uint8_t* scratch) {
  std::memcpy(scratch, row, static_cast<std::size_t>(n));
  const auto last = static_cast<std::uint32_t>(n - 1);
  for (int k = 0; k < n; ++k)
    row[k] = scratch[std::min(static_cast<std::uint32_t>(order[k]), last)];
}

// --- unpack_awq ---

constexpr int kAwqInputs = kLineBytes;  // of a tile; a byte each when unpacked
constexpr int kAwqRows = 8;             // in a word
// Which of its rows each nibble of a word belongs to, the low end first.
constexpr int kAwqRow[kAwqRows] = {0, 2, 4, 6, 1, 3, 5, 7};

void unpack_awq_tile(const UnpackAwqArgs& args, int input, int inputs, int word, int words) {
  std::uint32_t turned[kWordsPerLine][kAwqInputs] = {};
  for (int k = 0; k < inputs; ++k) {
    const std::uint32_t* from =
        args.words + static_cast<std::size_t>(input + k) * args.words_per_input + word;
    for (int w = 0; w < words; ++w) turned[w][k] = from[w];
  }
  for (int w = 0; w < words; ++w) {
    for (int nibble = 0; nibble < kAwqRows; nibble += 2) {
      std::uint8_t low[kAwqInputs], high[kAwqInputs];
      for (int k = 0; k < kAwqInputs; ++k) {
        const auto byte = static_cast<std::uint8_t>(turned[w][k] >> 4 * nibble);
        low[k] = byte & 15;
        high[k] = byte >> 4;
      }
      const auto write = [&](int row, const std::uint8_t* codes) {
        const std::size_t at = static_cast<std::size_t>((word + w) * kAwqRows + row);
        std::memcpy(args.codes + at * args.inputs + input, codes, static_cast<std::size_t>(inputs));
      };
      write(kAwqRow[nibble], low);
      write(kAwqRow[nibble + 1], high);
    }
  }
}

}  // namespace

std::size_t unpack_rows_scratch_bytes(const UnpackRowsArgs& args, int threads) {
  return args.order == nullptr ? 0 : static_cast<std::size_t>(threads) * args.codes_per_row();
}

void unpack_rows(Team& team, const Isa&, const UnpackRowsArgs& args) noexcept {
  const int codes = args.codes_per_row();
  UnpackTile* unpack_tile = unpack_tile_of(args.bits);
  team.for_each(static_cast<int>(ceil_div(args.rows, kStreams)), 1, [&](Range tiles) {
    auto* scratch = reinterpret_cast<std::uint8_t*>(team.scratch()) +
                    static_cast<std::size_t>(team.rank) * codes;
    for (int tile = tiles.begin; tile < tiles.end; ++tile) {
      const int row = tile * kStreams;
      const int rows = std::min(kStreams, args.rows - row);
      for (int code = 0; code < codes; code += 8 * kEights) unpack_tile(args, row, rows, code);
      if (args.order == nullptr) continue;
      for (int r = row; r < row + rows; ++r) {
        reorder(args.order, codes, args.codes + static_cast<std::size_t>(r) * codes, scratch);
      }
    }
  });
}

void unpack_awq(Team& team, const Isa&, const UnpackAwqArgs& args) noexcept {
  team.for_each(
      static_cast<int>(ceil_div(args.words_per_input, kWordsPerLine)), 1, [&](Range parts) {
        for (int part = parts.begin; part < parts.end; ++part) {
          const int word = part * kWordsPerLine;
          const int words = std::min(kWordsPerLine, args.words_per_input - word);
          for (int input = 0; input < args.inputs; input += kAwqInputs) {
            unpack_awq_tile(args, input, std::min(kAwqInputs, args.inputs - input), word, words);
          }
        }
      });
}

}  // namespace tinychat
