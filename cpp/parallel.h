// Threads: how many a piece of work deserves, and work shared out among them. With parallel.cpp the only place that
// knows OpenMP.
#pragma once

#include <cstddef>
#include <functional>

namespace crossent {

// The version of OpenMP in the build (201511, say), or 0.
int openmp_version();

// A limit for the whole process, on top of OpenMP's own for the calling thread.
void set_thread_limit(int limit);
int thread_limit();

// Threads for `elements` elements in `blocks` indivisible blocks: never more than there is work for, one inside another
// parallel region.
int threads_for(ptrdiff_t elements, ptrdiff_t blocks);

// task(block, thread) for every block, on `threads` threads; with one thread no parallel region is entered. Tasks run
// in the default floating-point environment (round to nearest, denormals kept), whatever the caller's or a worker's is,
// and the caller's is restored. A task must not throw.
void for_each_block(ptrdiff_t blocks, int threads, const std::function<void(ptrdiff_t block, int thread)>& task);

}  // namespace crossent
