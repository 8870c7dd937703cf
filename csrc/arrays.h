// How arrays cross the Python border: as integers that hold an address. Shapes, dtypes, contiguity
// and alignment are checked in tinychat/kernels/checks.py before an address is taken.
#pragma once

#include <cstdint>

namespace tinychat {

using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace tinychat
