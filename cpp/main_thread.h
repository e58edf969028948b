// The thread in which Python handles signals. Known beforehand: to ask Python runs Python code, and a signal handler
// would run in that code and its exception be lost.
#pragma once

namespace crossent {

// When the module is imported: what Python's threading.main_thread().ident is then.
void remember_main_thread(unsigned long ident);

bool in_main_thread();

}  // namespace crossent
