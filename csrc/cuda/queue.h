// Where the launches of an op go, and what comes back. Plain types, so that host code needs no CUDA
// header for them.
#pragma once

#include <string>

namespace tinychat::cuda {

struct Queue {
  void* stream;       // a cudaStream_t; in the emulated build an emulation::Stream
  int arch;           // of the card: 750, 800, ...
  bool programmatic;  // kernels may start before those they follow have ended (sm_90 and newer)
};

// One plain line where something went wrong, else nothing.
struct [[nodiscard]] Status {
  std::string error;
};

}  // namespace tinychat::cuda
