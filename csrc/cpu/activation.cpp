// activation and gated_activation, shared out in pieces of rows.
#include "cpu/ops.h"
#include "cpu/pieces.h"

namespace tinychat {

void activation(Team& team, const Isa& isa, const ActivationArgs& args) noexcept {
  for_pieces(team, args.rows, args.cols, [&](std::size_t row, int first, int n) {
    const std::size_t at = row * args.cols + first;
    const float* scale = args.scale == nullptr ? nullptr : args.scale + first;
    isa.activate(args.kind, args.x + at, scale, args.out + at, n);
  });
}

void gated_activation(Team& team, const Isa& isa, const ActivationArgs& args) noexcept {
  for_pieces(team, args.rows, args.cols, [&](std::size_t row, int first, int n) {
    const float* gate = args.x + row * 2 * args.cols + first;
    isa.activate(args.kind, gate, gate + args.cols, args.out + row * args.cols + first, n);
  });
}

}  // namespace tinychat
