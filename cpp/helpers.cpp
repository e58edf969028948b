#include "helpers.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace crossent {
namespace {

constexpr int kept_teams = 3;

std::atomic<int> at_work{0};  // of all threads
std::atomic<int> kept{0};     // of all threads: with a call or waiting for the next one

// The helpers that OpenMP has for this thread. They end with it.
struct Own {
  int count = 0;
  ~Own() { kept -= count; }
  void become(int new_count) {
    kept += new_count - count;
    count = new_count;
  }
};
thread_local Own own;

// Adds up to `wanted` to `total`, which stays within `most`.
int add_within(std::atomic<int>& total, int wanted, int most) {
  int before = total.load();
  int added;
  do {
    added = std::max(0, std::min(wanted, most - before));
  } while (added > 0 && !total.compare_exchange_weak(before, before + added));
  return added;
}

// How many of `wanted` further threads the system gives, all at the same time. Their stacks are kept by the C library
// for those that OpenMP starts right afterwards.
int threads_to_be_had(int wanted) {
  std::atomic<bool> is_over{false};
  std::vector<std::thread> threads;
  try {
    threads.reserve(static_cast<size_t>(wanted));
    for (int i = 0; i < wanted; ++i) threads.emplace_back([&] { is_over.wait(false); });
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
  is_over = true;
  is_over.notify_all();
  for (std::thread& thread : threads) thread.join();
  return static_cast<int>(threads.size());
}

}  // namespace

Helpers::Helpers(int wanted, int most, bool creation_is_worth_it) {
  const int allowed = add_within(at_work, wanted, most);
  count_ = std::min(allowed, own.count);
  if (allowed > own.count) {
    const int further = allowed - own.count;
    int room = add_within(kept, further, kept_teams * most);
    are_temporary_ = room < further && creation_is_worth_it;
    if (are_temporary_) {
      kept += further - room;
      room = further;
    }
    const int given = room > 0 ? threads_to_be_had(room) : 0;
    kept -= room - given;
    own.count += given;
    count_ = own.count;
  }
  at_work -= allowed - count_;
  if (count_ > 0 && count_ < own.count) own.become(count_);  // OpenMP lets the others go
}

Helpers::~Helpers() { at_work -= count_; }

void Helpers::forget_own() { own.become(0); }

void Helpers::forget_all() {
  own.count = 0;
  at_work = 0;
  kept = 0;
}

}  // namespace crossent
