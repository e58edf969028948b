#include "main_thread.h"

#include <Python.h>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace crossent {
namespace {

unsigned long main_thread = 0;

// Python's main thread after a fork is the one that forked.
#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int fork_handlers =
    pthread_atfork(nullptr, nullptr, [] { main_thread = PyThread_get_thread_ident(); });
#endif

}  // namespace

void remember_main_thread(unsigned long ident) {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) main_thread = ident;  // a subinterpreter handles no signal
}

bool in_main_thread() { return PyThread_get_thread_ident() == main_thread; }

}  // namespace crossent
