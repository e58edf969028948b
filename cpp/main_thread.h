// The thread in which Python handles signals. Known beforehand: to ask Python runs Python code, and a signal handler
// would run in that code and its exception be lost.
#pragma once

namespace crossent {

// When the module is imported, with the GIL. Throws pybind11::error_already_set.
void remember_main_thread();

bool in_main_thread();

}  // namespace crossent
