"""Trains in processes that are killed, and goes on with what they leave; a program that computes nothing itself.

`kills.py RUNS`, where RUNS is JSON: a list of moments and options of `dpmix.train`, each with an `output` of its own.
At its moment a run is killed by SIGKILL, and it is resumed in another process. Moments are `never`, `views:n` while the
views of step n are made, and `checkpoint:n` before checkpoint n is put in its place. The weights are kept in
`<output>.npz`.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dpmix.own.training import train as own
from dpmix.training import embedded_views, heads_job


def in_a_process(work: Callable[[], object]) -> int:
    """Do it in a copy of this process, and return the signal that ended it, or 0.

    Raises:
        RuntimeError: if it failed.
    """
    child = os.fork()
    if child:
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended > 0:
            raise RuntimeError("a run failed; its error stands above")
        return -ended
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def killing(number: int, call: Callable[..., Any], counts: Callable[..., bool]) -> Callable[..., Any]:
    """`call`, but of those calls that count this one kills the process."""
    left = [number]

    def called(*arguments: Any, **options: Any) -> Any:
        if counts(*arguments, **options):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
        return call(*arguments, **options)

    return called


def begin(options: dict[str, Any], moment: str) -> None:
    what, _, number = moment.partition(":")
    if what == "views":
        embedded_views.make_views = killing(int(number), embedded_views.make_views, lambda *_: True)
    elif what == "checkpoint":
        os.replace = killing(int(number), os.replace, lambda _, to: "checkpoints" in Path(to).parts)
    own.train(**options)


def keeping(weights: Path, call: Callable[..., Any]) -> Callable[..., Any]:
    """`dpmix.training.heads.train_methods`, but the weights of its one head are kept in a file."""

    def called(*arguments: Any, **options: Any) -> Any:
        (outcome,) = made = call(*arguments, **options)
        np.savez(weights, **{name: value.numpy() for name, value in outcome.weights.items()})
        return made

    return called


def main(runs: list[tuple[str, dict[str, Any]]]) -> None:
    own._CHECKPOINT_SECONDS = 0.0
    train_methods, here = heads_job.train_methods, Path.cwd()
    for moment, options in runs:
        heads_job.train_methods = keeping(here / f"{options['output']}.npz", train_methods)
        ended = in_a_process(partial(begin, options, moment))
        assert ended == (0 if moment == "never" else signal.SIGKILL), (moment, ended)
        if moment != "never":
            assert in_a_process(partial(own.train, **options, resume=True)) == 0, moment


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
