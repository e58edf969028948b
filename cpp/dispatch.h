// The instruction sets of this build and the one in use.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace crossent {

const Kernels& active_kernels();

// Whether this CPU had best ask for what is read once past its outer caches. On AMD's that leaves them to what is read
// again. Intel's let the second cache's own prefetching fetch most lines, and it takes no notice of such requests:
// there 65,536 rows of 1000 classes took 2.7 times as long.
bool reads_past_caches();

// Those this CPU runs, best first.
std::vector<std::string> supported_instruction_sets();
// All that were compiled, best first.
std::vector<std::string> compiled_instruction_sets();

// Throws std::invalid_argument, which lists the valid names, for one that is unknown or that this CPU doesn't run.
void select_instruction_set(const std::string& name);

}  // namespace crossent
