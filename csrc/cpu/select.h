// Which instruction sets this build holds, which of them this CPU runs, and the choice between
// them.
#pragma once

#include <string>
#include <vector>

#include "cpu/ops.h"

namespace tinychat {

struct Candidate {
  std::string name;
  std::string refusal;  // empty: it runs here
};

// Every instruction set we have code for on this architecture, the preferred one first.
std::vector<Candidate> isa_candidates();

// The named one, or the first that runs for "". Throws std::invalid_argument with the reason
// otherwise.
Isa select_isa(const std::string& name);

}  // namespace tinychat
