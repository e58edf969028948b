// The instruction sets of this build and the one in use.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace crossent {

const Kernels& active_kernels();

// Those this CPU runs, best first.
std::vector<std::string> supported_instruction_sets();
// All that were compiled, best first.
std::vector<std::string> compiled_instruction_sets();

// Throws std::invalid_argument, which lists the valid names, for one that is unknown or that this CPU doesn't run.
void select_instruction_set(const std::string& name);

}  // namespace crossent
