"""Two calls write the same array: what ThreadSanitizer has to see, or it sees nothing. Run by .ci/sanitize."""

import threading

import crossent
import numpy as np

x, out = np.zeros((300, 1000), np.float32), np.empty((300, 1000), np.float32)
start = threading.Barrier(2)


def work() -> None:
    start.wait()
    for _ in range(20):
        crossent.softmax(x, out=out)


threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
