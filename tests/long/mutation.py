"""Labels and logits that another thread rewrites meanwhile: wrong numbers or an IndexError, never worse.

``python tests/long/mutation.py --seconds 60``, best with a build that has AddressSanitizer. One thread writes labels,
in range and out of it, and logits; four score the same arrays in every layout.
"""

import argparse
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import crossent
import numpy as np

BAD_LABELS = (-1, -100, 2**31, 2**40, -(2**62), 2**62)
SHAPES = ((20_000, 10), (3000, 100), (2, 140_000), (64, 3, 1000))  # releases the GIL; tile, rows, shared rows, columns


class Race:
    """The arrays of all threads, and what has come of them."""

    def __init__(self, seconds: float) -> None:
        random = np.random.default_rng(0)
        self.logits = [random.normal(size=shape).astype(np.float32) for shape in SHAPES]
        self.targets = [random.integers(x.shape[1], size=(x.shape[0], *x.shape[2:])) for x in self.logits]
        self.end = time.monotonic() + seconds
        self.calls = self.errors = 0
        self.lock = threading.Lock()

    def mutate(self) -> None:
        random = np.random.default_rng(1)
        while time.monotonic() < self.end:
            for x, target in zip(self.logits, self.targets, strict=True):
                labels = target.reshape(-1)
                places = random.integers(labels.size, size=50)
                labels[places] = random.choice(BAD_LABELS, size=50)
                x.reshape(-1)[random.integers(x.size, size=50)] = random.choice((np.nan, np.inf, 1e30, -5), size=50)
                time.sleep(0)
                labels[places] = random.integers(x.shape[1], size=50)  # or no call would come past its first look

    def score(self, number: int) -> None:
        out = [np.empty_like(x) for x in self.logits]
        weights = [np.ones(x.shape[1]) for x in self.logits]
        while time.monotonic() < self.end:
            for x, target, weight, grad in zip(self.logits, self.targets, weights, out, strict=True):
                try:
                    if number == 0:
                        crossent.cross_entropy(x, target)
                    elif number == 1:
                        crossent.nll_loss(x, target, weight)
                    else:
                        crossent.cross_entropy_with_grad(
                            x, target, weight, label_smoothing=0.1 * number - 0.2, out=grad
                        )
                except IndexError:
                    with self.lock:
                        self.errors += 1
                with self.lock:
                    self.calls += 1

    def run(self) -> None:
        threads = [threading.Thread(target=self.mutate)]
        threads += [threading.Thread(target=self.score, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    race = Race(parser.parse_args().seconds)
    race.run()
    print(f"{race.calls} calls, of them {race.errors} with an IndexError")


if __name__ == "__main__":
    main()
