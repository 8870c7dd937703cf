// Runs one planted kernel as a program, so that it can be built with a sanitizer.
//
// Usage: planted WHICH BUG ORDER COPIES, numbers all; prints the outputs, or the error and exits 1.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda/emulation/stream.h"
#include "cuda/queue.h"

extern "C" const char* planted(const tinychat::cuda::Queue* q, int which, bool bug,
                               const float* from, float* out, int tiles);

int main(int count, char** words) {
  using namespace tinychat;
  if (count != 5) return 2;
  const auto number = [&](int i) { return std::atoi(words[i]); };
  emulation::Settings settings;
  settings.order = static_cast<emulation::Order>(number(3));
  settings.late_copies = number(4);
  emulation::Stream stream(settings);
  const cuda::Queue queue{&stream, settings.arch, false};

  constexpr int kTiles = 5, kFloats = 128 * 4;
  std::vector<float> from(kTiles * kFloats), out(kFloats);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i % 97);
  const char* error = planted(&queue, number(1), number(2) != 0, from.data(), out.data(), kTiles);
  if (*error != '\0') {
    std::printf("%s\n", error);
    return 1;
  }
  for (float value : out) std::printf("%g\n", static_cast<double>(value));
  return 0;
}
