// The threads that help the calling ones: how many a call gets. OpenMP keeps a team for every thread that has ever
// called, and ends the process when the system refuses it a thread. So in this process, with calls limited to L
// threads, at most L - 1 helpers compute at a time, whoever calls; those that wait for their thread's next call are 3
// (L - 1) at most; and none is asked of OpenMP that the system wouldn't give.
#pragma once

namespace crossent {

class Helpers {
 public:
  // Up to `wanted` of them, while no more than `most` work in the process. `creation_is_worth_it` says that the work is
  // long enough for a team that is given up afterwards.
  Helpers(int wanted, int most, bool creation_is_worth_it);
  ~Helpers();
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;

  int count() const { return count_; }

  // The calling thread's team has to be given up before the next call.
  bool are_temporary() const { return are_temporary_; }

  // That team is gone: given up, or left behind by a fork.
  static void forget_own();
  static void forget_all();

 private:
  int count_ = 0;
  bool are_temporary_ = false;
};

}  // namespace crossent
