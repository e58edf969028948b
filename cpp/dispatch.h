// The instruction sets of this build and the one in use.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace crossent {

const Kernels& active_kernels();

// What suits this CPU's memory.
struct MemoryAccess {
  // Whether to ask for what is read once past the outer caches. On AMD's CPUs that leaves them to what is read again.
  // On Intel's the second cache's own prefetching fetches most lines, and it takes no notice of such requests: 65,536
  // rows of 1000 classes took 2.3 times as long there on one thread, 2.8 times on two.
  bool reads_past_caches;
  // Shorter rows are written to the caches even where the output is too large for them.
  ptrdiff_t least_streamed_row_bytes;
};
const MemoryAccess& memory_access();

// Those this CPU runs, best first.
std::vector<std::string> supported_instruction_sets();
// All that were compiled, best first.
std::vector<std::string> compiled_instruction_sets();

// Throws std::invalid_argument, which lists the valid names, for one that is unknown or that this CPU doesn't run.
void select_instruction_set(const std::string& name);

}  // namespace crossent
