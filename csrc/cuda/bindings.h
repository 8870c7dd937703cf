// The ops as methods of a Python class Queue, for the module of a card and for the emulated one.
#pragma once

#include <pybind11/pybind11.h>

#include "cuda/queue.h"

namespace tinychat::cuda {

// Throws what Python sees as a KernelError where something went wrong.
void check(const Status& status);

// Returns the class for what a module adds to it.
pybind11::class_<Queue> register_ops(pybind11::module_& module);

}  // namespace tinychat::cuda
