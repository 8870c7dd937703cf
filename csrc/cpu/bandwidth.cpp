// read_all: every byte of a buffer is read once by the team; how fast that goes is the ceiling of
// decoding.
#include "cpu/ops.h"

namespace tinychat {

void read_all(Team& team, const Isa&, const ReadArgs& args) noexcept {
  constexpr int kWords = 4096 / sizeof(std::uint64_t);
  constexpr int kGrain = 64;
  team.for_each(static_cast<int>(args.n / kWords), kGrain, [&](Range pages) {
    std::uint64_t sum[16] = {};
    for (int page = pages.begin; page < pages.end; ++page) {
      const std::uint64_t* words = args.data + static_cast<std::size_t>(page) * kWords;
      for (int i = 0; i < kWords; i += 16) {
        for (int j = 0; j < 16; ++j) sum[j] += words[i + j];
      }
    }
    for (int j = 1; j < 16; ++j) sum[0] += sum[j];
    args.sum->fetch_add(sum[0], std::memory_order_relaxed);
  });
}

}  // namespace tinychat
