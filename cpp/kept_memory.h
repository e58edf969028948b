// Large results in memory that is kept when it is given back, up to a limit: fresh pages cost more time than a
// gradient.
#pragma once

#include <cstddef>

namespace crossent {

constexpr size_t kept_memory_smallest = size_t{1} << 22;  // 4 MiB: anything smaller is the C library's business
constexpr size_t kept_memory_limit = size_t{1} << 29;     // 512 MiB in all

// Memory of at least `bytes`, with any content; from the kept one where a piece fits. Throws std::bad_alloc.
void* take_memory(size_t bytes);

// Ends the use of memory from take_memory: it is kept if the limit allows that, and returned to the system if not.
void give_memory(void* memory);

// Returns all that is kept to the system, and says how many bytes that was.
size_t release_memory();

}  // namespace crossent
