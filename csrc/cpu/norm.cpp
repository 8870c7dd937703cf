// rms_norm and layer_norm, each with the residual addition before it.
#include "cpu/ops.h"

namespace tinychat {
namespace {

constexpr int kRowsPerPart = 2;

}  // namespace

void rms_norm(Team& team, const Isa& isa, const RmsNormArgs& args) noexcept {
  team.for_each(args.rows, kRowsPerPart, [&](Range part) {
    for (int row = part.begin; row < part.end; ++row) {
      const std::size_t at = static_cast<std::size_t>(row) * args.cols;
      float* residual = args.residual == nullptr ? nullptr : args.residual + at;
      isa.rms_norm_row(args.x + at, args.weight, residual, args.out + at, args.cols, args.eps);
    }
  });
}

void layer_norm(Team& team, const Isa& isa, const LayerNormArgs& args) noexcept {
  team.for_each(args.rows, kRowsPerPart, [&](Range part) {
    for (int row = part.begin; row < part.end; ++row) {
      const std::size_t at = static_cast<std::size_t>(row) * args.cols;
      float* residual = args.residual == nullptr ? nullptr : args.residual + at;
      isa.layer_norm_row(args.x + at, args.weight, args.bias, residual, args.out + at, args.cols,
                         args.eps);
    }
  });
}

}  // namespace tinychat
