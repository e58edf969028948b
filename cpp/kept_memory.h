// Large results in memory that is kept when it is given back, up to a limit: fresh pages cost more time than a
// gradient.
#pragma once

#include <cstddef>

namespace crossent {

constexpr size_t kept_memory_smallest = size_t{1} << 22;  // 4 MiB: anything smaller is the C library's business
constexpr size_t kept_memory_limit = size_t{1} << 30;     // 1 GiB in all

// Fresh pages, or null; and back to the system.
void* fresh_pages(size_t bytes);
void return_pages(void* data, size_t bytes);

struct Piece {
  void* data;
  size_t bytes;
};

// A piece of at least `bytes`, with any content; from the kept ones where one fits. Throws std::bad_alloc, when nothing
// is kept any more.
Piece* take_piece(size_t bytes);

// Ends its use: it is kept if the limit allows that, and returned to the system if not.
void give_piece(Piece* piece);

// Returns all that is kept to the system, and says how many bytes that was.
size_t release_memory();

}  // namespace crossent
