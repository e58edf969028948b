"""The commands of the command line, each from its options to its exit code; what is wrong is raised."""

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from . import _printing
from .files import Result, ScoreOptions, fit_files, memory, score_files
from .files.checks import check_outputs


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; what is under way ends as after Ctrl-C."""


def score_options(options: argparse.Namespace) -> ScoreOptions:
    """Arguments as the scorer takes them, those that ``score`` and ``fit-temperature`` have in common."""
    return ScoreOptions(
        logits=options.logits,
        targets=options.targets,
        sample_weight=options.sample_weight,
        kind=options.input,
        bfloat16=options.dtype == "bfloat16",
        axis=options.axis,
        ignore_index=options.ignore_index,
        temperature=options.temperature,
        max_memory=options.max_memory - memory.resident_bytes(),
        threads=options.threads,
    )


def run_score(options: argparse.Namespace) -> int:
    """Run ``score``."""
    outputs = {"--per-sample": options.per_sample, "--resume": options.resume, "--report": options.report}
    check_outputs([options.logits, options.targets, options.sample_weight], outputs)
    job = replace(
        score_options(options),
        top_k=options.top_k or ScoreOptions.top_k,
        bins=options.bins,
        worst=max(options.worst, 20 if options.report else 0),
        report=options.report is not None,
        per_sample=options.per_sample,
        resume=options.resume,
    )
    with termination_like_interruption():
        with _printing.Progress() as progress:
            result = score_files(job, progress.advise(_printing.complain), progress.show)
        worst = result.worst[: options.worst]
        if options.json:
            print(_printing.as_json(result.totals, worst))
        else:
            print(_printing.as_table(result.totals, worst, every_k=options.top_k is not None))
        if options.report is not None:  # last: what was scored is shown, whatever becomes of it
            write_report(options, result)
    return 0


def write_report(options: argparse.Namespace, result: Result) -> None:
    """Draw the report."""
    from . import report  # noqa: PLC0415  # needs matplotlib

    assert result.report is not None
    try:
        report.write_report(
            options.report,
            totals=result.totals,
            data=result.report,
            worst=result.worst,
            title=Path(options.logits).name,
            details=report_details(options),
        )
    except KeyboardInterrupt:
        _printing.complain(f"{options.report} is not written, but all rows are scored")
        raise


def run_fit_temperature(options: argparse.Namespace) -> int:
    """Run ``fit-temperature``."""
    with _printing.Progress() as progress:
        found = fit_files(score_options(options), progress.advise(_printing.complain), progress.show)
    print(_printing.fit_json(found) if options.json else _printing.fit_table(found))
    return 0


def report_details(options: argparse.Namespace) -> dict[str, str]:
    """Return what a report tells of the files."""
    details = {"logits": options.logits, "targets": options.targets, "sample weights": options.sample_weight}
    if options.input != "logits":
        details["input"] = options.input
    if options.temperature != 1:
        details["temperature"] = f"{options.temperature:g}"
    return {name: text for name, text in details.items() if text is not None}


def run_demo(options: argparse.Namespace) -> int:
    """Run ``demo``."""
    try:
        from . import demo  # noqa: PLC0415  # needs more than NumPy
    except ModuleNotFoundError:
        _printing.complain('the demo needs scikit-learn, threadpoolctl and tqdm: pip install "crossent[demo]"')
        return 1
    return demo.run(options.output, epochs=options.epochs, seed=options.seed)


@contextmanager
def termination_like_interruption() -> Iterator[None]:
    """Let SIGTERM end the block like Ctrl-C, so that a checkpoint is written."""

    def stop(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # no other may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


COMMANDS = {"score": run_score, "fit-temperature": run_fit_temperature, "demo": run_demo}
