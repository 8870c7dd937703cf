// The module tinychat.kernels._cuda_emulated: the CUDA ops on a card made of fibers.
#include <memory>

#include "cuda/bindings.h"
#include "cuda/emulation/stream.h"
#include "cuda/queue.h"

namespace py = pybind11;
using namespace tinychat;
using namespace py::literals;

PYBIND11_MODULE(_cuda_emulated, module) {
  cuda::register_ops(module);

  py::enum_<emulation::Order>(module, "Order")
      .value("forward", emulation::Order::kForward)
      .value("reverse", emulation::Order::kReverse)
      .value("shuffled", emulation::Order::kShuffled);

  py::class_<emulation::Stream>(module, "Stream")
      .def(py::init([](int arch, emulation::Order order, std::uint32_t seed, bool late_copies,
                       bool coresident, bool overlap) {
             return std::make_unique<emulation::Stream>(
                 emulation::Settings{arch, order, seed, late_copies, coresident, overlap});
           }),
           py::kw_only(), "arch"_a = 900, "order"_a = emulation::Order::kForward, "seed"_a = 0,
           "late_copies"_a = true, "coresident"_a = false, "overlap"_a = false)
      .def(
          "queue",
          [](emulation::Stream& s) {
            const emulation::Settings& settings = s.settings();
            return cuda::Queue{&s, settings.arch, settings.overlap != 0};
          },
          py::keep_alive<0, 1>())
      .def(
          "synchronize", [](emulation::Stream& s) { cuda::check({s.synchronize()}); },
          py::call_guard<py::gil_scoped_release>());
}
