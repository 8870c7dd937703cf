// activation and gated_activation, shared out in pieces of rows.
#include <algorithm>

#include "cpu/ops.h"

namespace tinychat {
namespace {

constexpr int kPieceCols = 1024;  // about a microsecond

// Calls f(row, first column, columns) for all of [rows, cols].
template <class F>
void for_pieces(Team& team, int rows, int cols, F f) {
  const int pieces = static_cast<int>(ceil_div(cols, kPieceCols));
  team.for_each(rows * pieces, 1, [&](Range part) {
    for (int i = part.begin; i < part.end; ++i) {
      const int first = i % pieces * kPieceCols;
      f(static_cast<std::size_t>(i / pieces), first, std::min(kPieceCols, cols - first));
    }
  });
}

}  // namespace

void activation(Team& team, const Isa& isa, const ActivationArgs& args) noexcept {
  for_pieces(team, args.rows, args.cols, [&](std::size_t row, int first, int n) {
    const std::size_t at = row * args.cols + first;
    isa.activate(args.kind, args.x + at, nullptr, args.out + at, n);
  });
}

void gated_activation(Team& team, const Isa& isa, const ActivationArgs& args) noexcept {
  for_pieces(team, args.rows, args.cols, [&](std::size_t row, int first, int n) {
    const float* gate = args.x + row * 2 * args.cols + first;
    isa.activate(args.kind, gate, gate + args.cols, args.out + row * args.cols + first, n);
  });
}

}  // namespace tinychat
