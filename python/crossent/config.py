"""Threads, and what this build is and runs on."""

import operator
from typing import Any

import numpy as np

from . import _core

__version__: str = _core.build_info()["version"]


def set_num_threads(n: int) -> None:
    """Set the upper limit of threads for every later call, in this process.

    A call uses fewer if OpenMP's own limit in the calling thread is lower (``OMP_NUM_THREADS``, threadpoolctl), and
    never more than its work is worth. The results have the same bits for any number of threads.

    Parameters
    ----------
    n : int
        1 or more.

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
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"the number of threads must be an integer, not {n!r}")
    count = operator.index(n)
    if count < 1:
        raise ValueError(f"the number of threads must be 1 or more, not {count}")
    _core.set_num_threads(min(count, 2**31 - 1))


def get_num_threads() -> int:
    """Return how many threads a large call from this thread would use.

    Returns
    -------
    int
        The least of ``set_num_threads``'s limit and OpenMP's own in the calling thread.

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
    one: up to 512 MiB in all, the oldest going first. Nothing is kept of an ``out=`` of yours.

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
        None for a serial build; ``threads``, as ``get_num_threads``; ``numpy``, its version.

    Examples
    --------
    >>> import crossent
    >>> crossent.show_config()["version"] == crossent.__version__
    True
    """
    build = _core.build_info()
    return {
        "version": __version__,
        "instruction_set": _core.get_instruction_set(),
        "instruction_sets": _core.instruction_sets(),
        "compiler": build["compiler"],
        "openmp": build["openmp"],
        "threads": _core.get_num_threads(),
        "numpy": np.__version__,
    }
