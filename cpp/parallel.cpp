#include "parallel.h"

#include <algorithm>
#include <atomic>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(_OPENMP) && defined(__linux__)
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace crossent {
namespace {

constexpr ptrdiff_t elements_per_thread = 1 << 15;  // some 10 µs of work, against a few for waking a team
constexpr int no_limit = 1 << 16;
std::atomic<int> limit{no_limit};

// Another library may have switched to flushing denormals or to another rounding mode, in this thread or in the
// workers.
class DefaultFloatingPoint {
 public:
#if defined(__x86_64__)
  DefaultFloatingPoint() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~DefaultFloatingPoint() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  DefaultFloatingPoint() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(0UL));
  }
  ~DefaultFloatingPoint() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  unsigned long saved_;
#endif
 public:
  DefaultFloatingPoint(const DefaultFloatingPoint&) = delete;
  DefaultFloatingPoint& operator=(const DefaultFloatingPoint&) = delete;
};

#if defined(_OPENMP)
// A forked child inherits libgomp's record of a team, but not its threads, and would wait for them forever. So the team
// is given up before a fork; parent and child each start a new one when they need it.
void survive_forks() {
#if defined(__linux__)
  static const int registered = pthread_atfork([] { omp_pause_resource_all(omp_pause_soft); }, nullptr, nullptr);
  static_cast<void>(registered);
#endif
}

int runtime_limit() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }
#else
int runtime_limit() { return 1; }
#endif

}  // namespace

int openmp_version() {
#if defined(_OPENMP)
  return _OPENMP;
#else
  return 0;
#endif
}

void set_thread_limit(int value) { limit.store(value); }

int thread_limit() { return std::max(1, std::min(limit.load(), runtime_limit())); }

int threads_for(ptrdiff_t elements, ptrdiff_t blocks) {
  const ptrdiff_t worth = std::min(blocks, elements / elements_per_thread);
  if (worth <= 1) return 1;
  return static_cast<int>(std::min<ptrdiff_t>(worth, thread_limit()));
}

void for_each_block(ptrdiff_t blocks, int threads, const BlockTask& task) {
#if defined(_OPENMP)
  if (threads > 1) {
    survive_forks();
#pragma omp parallel num_threads(threads)
    {
      const DefaultFloatingPoint environment;
      const int thread = omp_get_thread_num();
#pragma omp for schedule(dynamic)
      for (ptrdiff_t block = 0; block < blocks; ++block) task(block, thread);
    }
    return;
  }
#endif
  (void)threads;
  const DefaultFloatingPoint environment;
  for (ptrdiff_t block = 0; block < blocks; ++block) task(block, 0);
}

}  // namespace crossent
