// The module tinychat.kernels._cuda: the ops on a card, and what cards there are. It loads where
// there is no driver. Nothing here makes a context or takes memory on a card.
#include <cuda_runtime_api.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "cuda/bindings.h"
#include "cuda/queue.h"

namespace py = pybind11;
using namespace py::literals;

namespace tinychat::cuda {
namespace {

// What the kernels were compiled for: 750, 800, ...
const std::vector<int> kArchitectures = {TINYCHAT_ARCHITECTURES};

struct Card {
  int index;
  std::string name;
  int arch;  // 750, 800, ...
  int multiprocessors;
  std::int64_t memory_bytes, l2_bytes;
  std::int64_t shared_bytes;  // the most that a block may ask for
  int memory_khz, bus_bits;   // 0 where the driver does not say
  bool integrated;            // its memory is the machine's own
};

// What went wrong in the words of CUDA, or "".
std::string message(cudaError_t error) {
  if (error == cudaSuccess) return "";
  cudaGetLastError();  // so that the next call does not report it again
  return cudaGetErrorString(error);
}

std::string why_not() {
  int count = 0;
  return message(cudaGetDeviceCount(&count));
}

int attribute(cudaDeviceAttr which, int index) {
  int value = 0;
  check({message(cudaDeviceGetAttribute(&value, which, index))});
  return value;
}

Card card(int index) {
  cudaDeviceProp found;
  check({message(cudaGetDeviceProperties(&found, index))});
  return {index,
          found.name,
          100 * found.major + 10 * found.minor,
          found.multiProcessorCount,
          static_cast<std::int64_t>(found.totalGlobalMem),
          found.l2CacheSize,
          static_cast<std::int64_t>(found.sharedMemPerBlockOptin),
          attribute(cudaDevAttrMemoryClockRate, index),
          attribute(cudaDevAttrGlobalMemoryBusWidth, index),
          found.integrated != 0};
}

std::vector<Card> cards() {
  int count = 0;
  if (!message(cudaGetDeviceCount(&count)).empty()) return {};
  std::vector<Card> found;
  for (int index = 0; index < count; ++index) found.push_back(card(index));
  return found;
}

// CUDA's 13020 as (13, 2).
std::pair<int, int> version(cudaError_t (*ask)(int*)) {
  int number = 0;
  if (!message(ask(&number)).empty()) return {0, 0};
  return {number / 1000, number % 1000 / 10};
}

}  // namespace
}  // namespace tinychat::cuda

PYBIND11_MODULE(_cuda, module) {
  using namespace tinychat;
  using cuda::Card;

  cuda::register_ops(module).def(py::init([](Address stream, int arch, bool programmatic) {
                                   return cuda::Queue{at<void>(stream), arch, programmatic};
                                 }),
                                 "stream"_a, "arch"_a, "programmatic"_a);

  py::class_<Card>(module, "Card", py::module_local())
      .def_readonly("index", &Card::index)
      .def_readonly("name", &Card::name)
      .def_readonly("arch", &Card::arch)
      .def_readonly("multiprocessors", &Card::multiprocessors)
      .def_readonly("memory_bytes", &Card::memory_bytes)
      .def_readonly("l2_bytes", &Card::l2_bytes)
      .def_readonly("shared_bytes", &Card::shared_bytes)
      .def_readonly("memory_khz", &Card::memory_khz)
      .def_readonly("bus_bits", &Card::bus_bits)
      .def_readonly("integrated", &Card::integrated);

  const py::call_guard<py::gil_scoped_release> no_gil;  // the first call starts the driver
  module.def("cards", &cuda::cards, no_gil);
  module.def("why_not", &cuda::why_not, no_gil);
  module.def("driver_version", [] { return cuda::version(cudaDriverGetVersion); });
  module.def("runtime_version", [] { return cuda::version(cudaRuntimeGetVersion); });
  module.def("architectures", [] { return cuda::kArchitectures; });
  module.def("ptx", [] {
    return *std::max_element(cuda::kArchitectures.begin(), cuda::kArchitectures.end());
  });
}
