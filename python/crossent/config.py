"""Threads, and what this build is and runs on."""

from typing import Any

import numpy as np

from . import _core, _cpus, _options

__version__: str = _core.build_info()["version"]

_limit_from: str | None = None  # what the core's limit comes from; None while OpenMP's own holds
if (_default := _cpus.default_limit()) is not None:
    _limit_from = _default.source
    _core.set_num_threads(_default.threads)


def set_num_threads(n: int) -> None:
    """Set the upper limit of threads for every later call, in this process.

    Until then it is the number of CPUs that the process may use when crossent is imported: those it is bound to, or
    the CPU quota of its control groups (a container's limit) rounded up, if that is less. The environment variable
    ``OMP_NUM_THREADS`` takes its place.

    OpenMP's own limit in the calling thread holds as well: the number of CPUs that the process is bound to, or what
    ``OMP_NUM_THREADS`` or threadpoolctl say. An ``n`` beyond it is no error and has the effect of that limit, as
    ``get_num_threads`` tells. For more threads than CPUs, set ``OMP_NUM_THREADS`` before the import.

    A call uses fewer if its work isn't worth more, and no helpers that other calls have at the moment: calls from
    several Python threads share as many as one of them alone would get. The results have the same bits for any number
    of threads.

    Parameters
    ----------
    n : int
        1 or more, of any size.

    Raises
    ------
    ValueError
        ``n`` is less than 1.
    TypeError
        ``n`` is not an integer.

    Examples
    --------
    >>> import crossent
    >>> before = crossent.get_num_threads()
    >>> crossent.set_num_threads(1)
    >>> crossent.get_num_threads()
    1
    >>> crossent.set_num_threads(before)
    """
    count = _options.as_number_of_threads(n)
    global _limit_from  # noqa: PLW0603
    _limit_from = "set_num_threads"  # the number is the core's alone: threads that set it at once can't make two of it
    _core.set_num_threads(min(count, 2**31 - 1))


def get_num_threads() -> int:
    """Return how many threads a large call from this thread would use.

    Returns
    -------
    int
        The least of ``set_num_threads``'s limit and OpenMP's own in the calling thread, so less than was set where
        that is more than the CPUs. ``show_config`` tells which.

    Examples
    --------
    >>> import crossent
    >>> crossent.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def release_memory() -> int:
    """Return the memory that is kept for results to the system.

    Fresh memory costs more time than a gradient: the system has to clear every page of it. So when an array of 4 MiB or
    more that a function of this package has allocated (a gradient, a softmax) is gone, its memory is kept for the next
    one: up to 1 GiB in all, the oldest going first. That of an array of more than 512 MiB is marked as what Linux may
    take back when it is short of memory, though until then it counts as the process's. Nothing is kept of an ``out=``
    of yours.

    Such an array is a view of that memory (``flags.owndata`` is false), so it can't be resized in place, and
    ``tracemalloc``, which sees what NumPy allocates, doesn't see it.

    Returns
    -------
    int
        How many bytes that was.

    Examples
    --------
    >>> import numpy as np, crossent
    >>> del_me = crossent.softmax(np.zeros((1000, 2000), np.float32))
    >>> del del_me
    >>> crossent.release_memory() >= 8_000_000
    True
    >>> crossent.release_memory()
    0
    """
    return _core.release_memory()


def show_config() -> dict[str, Any]:
    """Return what this build is and what it runs on.

    Returns
    -------
    dict
        ``version``; ``instruction_set``, the one in use (the environment variable ``CROSSENT_ISA`` forces it);
        ``instruction_sets``, those that this CPU runs, best first; ``compiler``; ``openmp``, its version, or
        None for a serial build; ``threads``, as ``get_num_threads``; ``threads_from``, what sets their number
        (``set_num_threads``, ``OMP_NUM_THREADS``, OpenMP, CPU affinity, a cgroup quota and where it was found);
        ``numpy``, its version.

    Examples
    --------
    >>> import crossent
    >>> crossent.show_config()["version"] == crossent.__version__
    True
    """
    build = _core.build_info()
    threads = _core.get_num_threads()
    return {
        "version": __version__,
        "instruction_set": _core.get_instruction_set(),
        "instruction_sets": _core.instruction_sets(),
        "compiler": build["compiler"],
        "openmp": build["openmp"],
        "threads": threads,
        "threads_from": _source_of(threads),
        "numpy": np.__version__,
    }


def _source_of(threads: int) -> str:
    """Return what makes that the number of threads."""
    if _core.build_info()["openmp"] is None:
        return "a build without OpenMP"
    if _limit_from is not None and _core.get_thread_limit() == threads:
        return _limit_from
    return "OpenMP" if _cpus.omp_num_threads() is None else "OMP_NUM_THREADS"
