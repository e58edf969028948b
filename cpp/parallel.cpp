#include "parallel.h"

#include <algorithm>
#include <atomic>

#include "floating_point.h"
#include "helpers.h"
#include "stop_requests.h"

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(_OPENMP) && defined(__linux__)
#include <pthread.h>
#endif

namespace crossent {
namespace {

constexpr ptrdiff_t elements_per_thread = 1 << 15;  // some 10 µs of work, against a few for waking a team
constexpr ptrdiff_t blocks_worth_a_team = 64;       // for each thread: some 0.5 ms, against 0.3 for a team
constexpr int no_limit = 1 << 16;
std::atomic<int> limit{no_limit};

#if defined(_OPENMP)
int runtime_limit() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }

void set_runtime_limit(int value) { omp_set_num_threads(value); }

void give_up_team() {
  if (omp_pause_resource_all(omp_pause_soft) == 0) Helpers::forget_own();
}

// A forked child inherits libgomp's record of a team, but not its threads, and would wait for them forever. So the
// forking thread's team is given up before; parent and child each start a new one when they need it.
#if defined(__linux__)
[[maybe_unused]] const int fork_handlers = pthread_atfork(give_up_team, nullptr, Helpers::forget_all);
#endif
#else
int runtime_limit() { return 1; }
void set_runtime_limit(int) {}
void give_up_team() {}
#endif

// Blocks that threads take one by one, the next as soon as they have done one, until all are taken or the calling
// thread has to ask whether to stop.
class SharedBlocks {
 public:
  SharedBlocks(ptrdiff_t blocks, const BlockTask& task) : blocks_(blocks), task_(task) {}

  bool are_all_taken() const { return next_.load() >= blocks_; }

  void work_on(int threads) {
    is_break_.store(false);
#if defined(_OPENMP)
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
      {
        const DefaultFloatingPoint environment;
        take(omp_get_thread_num());
      }
      return;
    }
#endif
    (void)threads;
    take(0);
  }

  // Outside parallel regions, so that a signal handler may do what it likes: compute, fork.
  void heed_stop_requests() {
    if (is_break_.load()) requests_->heed();
  }

 private:
  void take(int thread) {
    while (!is_break_.load(std::memory_order_relaxed)) {
      const ptrdiff_t block = next_.fetch_add(1, std::memory_order_relaxed);
      if (block >= blocks_) return;
      task_(block, thread);
      if (thread == 0 && requests_ && requests_->are_due()) is_break_.store(true, std::memory_order_relaxed);
    }
  }

  const ptrdiff_t blocks_;
  const BlockTask& task_;
  StopRequests* const requests_ = StopRequests::current();
  std::atomic<ptrdiff_t> next_{0};
  std::atomic<bool> is_break_{false};
};

}  // namespace

int openmp_version() {
#if defined(_OPENMP)
  return _OPENMP;
#else
  return 0;
#endif
}

void set_thread_limit(int value) { limit.store(value); }

int process_thread_limit() { return limit.load(); }

int thread_limit() { return std::max(1, std::min(limit.load(), runtime_limit())); }

void compute_alone() { set_runtime_limit(1); }

int threads_for(ptrdiff_t elements, ptrdiff_t blocks) {
  const ptrdiff_t worth = std::min(blocks, elements / elements_per_thread);
  if (worth <= 1) return 1;
  return static_cast<int>(std::min<ptrdiff_t>(worth, thread_limit()));
}

void for_each_block(ptrdiff_t blocks, int threads, const BlockTask& task) {
  if (blocks == 1) return task(0, 0);
  SharedBlocks shared(blocks, task);
  while (!shared.are_all_taken()) {
    {
      const Helpers helpers(threads - 1, thread_limit() - 1, blocks / threads >= blocks_worth_a_team);
      shared.work_on(1 + helpers.count());
      if (helpers.are_temporary()) give_up_team();
    }
    shared.heed_stop_requests();
  }
}

}  // namespace crossent
