// Threads: how many a piece of work deserves, and work shared out among them. With parallel.cpp the only place that
// knows OpenMP.
#pragma once

#include <cstddef>
#include <vector>

namespace crossent {

// A callable of (block, thread) that the caller owns.
class BlockTask {
 public:
  template <class Callable>
  BlockTask(const Callable& callable)  // implicit: a lambda becomes one
      : callable_(&callable),
        call_([](const void* c, ptrdiff_t block, int thread) { (*static_cast<const Callable*>(c))(block, thread); }) {}
  void operator()(ptrdiff_t block, int thread) const { call_(callable_, block, thread); }

 private:
  const void* callable_;
  void (*call_)(const void*, ptrdiff_t, int);
};

// A value for each block, without a heap for the one block of a small call.
template <class Value>
class PerBlock {
 public:
  explicit PerBlock(ptrdiff_t blocks) : many_(blocks > 1 ? static_cast<size_t>(blocks) : 0), blocks_(blocks) {}
  Value& operator[](ptrdiff_t block) { return *(begin() + block); }
  Value* begin() { return blocks_ > 1 ? many_.data() : &one_; }
  Value* end() { return begin() + blocks_; }

 private:
  Value one_ = {};
  std::vector<Value> many_;
  ptrdiff_t blocks_;
};

// The version of OpenMP in the build (201511, say), or 0.
int openmp_version();

// A limit for the whole process, on top of OpenMP's own for the calling thread.
void set_thread_limit(int limit);
int process_thread_limit();

// The least of both.
int thread_limit();

// Sets OpenMP's own limit for the calling thread to 1, until the thread ends.
void compute_alone();

// Threads for `elements` elements in `blocks` indivisible blocks: never more than there is work for, one inside another
// parallel region.
int threads_for(ptrdiff_t elements, ptrdiff_t blocks);

// task(block, thread) for every block, on `threads` threads or as many as are free (helpers.h); alone, no parallel
// region is entered. Throws Stopped between two blocks where that is asked for (stop_requests.h). A task must not
// throw, and finds the default floating-point environment where the caller has it (floating_point.h).
void for_each_block(ptrdiff_t blocks, int threads, const BlockTask& task);

}  // namespace crossent
