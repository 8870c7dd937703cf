// What a test chooses of an emulated card. Hardware leaves all of it open, so a right kernel gives
// the same result under every choice.
#pragma once

#include <cstdint>

namespace tinychat::emulation {

// Which of the threads that can go on does so: the first, the last, or any.
enum class Order : std::int32_t { kForward, kReverse, kShuffled };

struct Settings {
  std::int32_t arch = 900;        // 750, 800 or 900: which paths kernels take, and what fits
  Order order = Order::kForward;  // of the threads, and of the blocks
  std::uint32_t seed = 0;         // of the shuffled order
  std::int32_t late_copies = 1;   // cp.async: at the wait that asks for it, else when issued
  std::int32_t coresident = 0;    // all blocks of a grid are alive at once, else one by one
  std::int32_t overlap = 0;       // programmatic launches start before what they follow
};

}  // namespace tinychat::emulation
