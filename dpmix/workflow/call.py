"""When Snakemake says what it was asked for, and when it runs."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from dpmix.workflow.owner import calling, locked

Check = Callable[[Sequence[str], Sequence[str]], None]
Define = Callable[[Sequence[str], Sequence[str]], Sequence[str]]


def when_called(workflow: Any, check: Check, define: Define, lock_error: type[Exception]) -> None:
    """Have a call checked, and more rules defined, once it is known what the call asks for.

    Snakemake reads a workflow before it says with which targets and options it was called. It gives the workflow its
    settings then, and looks for jobs after that. So this is the moment in which rules can be defined that depend on
    them, whoever called: the command line, a profile, a program, or a job on a cluster's node. A call that runs jobs
    leaves a note of itself while it does, by which the next one knows whether its locks count (`owner`).

    Args:
        workflow: Snakemake's `Workflow`, as a Snakefile knows it. Where its style is checked (`snakemake --lint`), no
            call follows, and `define` is called at once, with nothing.
        check: called before Snakemake has said anything, with the targets, which may be none, and with all words that
            stand for rules or files: these, and those of `--forcerun` and `--until`.
        define: called last and once, with the same; words of `--prioritize` are known by then, and among them. It
            returns the names of rules that are to run although their files are there, as by `--forcerun`.
        lock_error: what Snakemake raises where files are locked.
    """

    class Called(type(workflow)):  # type: ignore[misc]
        _defined = False

        @property
        def dag_settings(self) -> Any:
            return self.__dict__.get("dag_settings")

        @dag_settings.setter
        def dag_settings(self, settings: Any) -> None:
            self.__dict__["dag_settings"] = settings
            check(*_words(settings))

        def _prepare_dag(self, *arguments: Any, **options: Any) -> Any:
            if not self._defined:
                self._defined = True
                targets, words = _words(self.dag_settings)
                scheduling = self.scheduling_settings
                forced = define(targets, [*words, *(scheduling.prioritytargets if scheduling else ())])
                self.dag_settings.forcerun = {*self.dag_settings.forcerun, *forced}
            return super()._prepare_dag(*arguments, **options)

        def execute(self, executor_plugin: Any, *arguments: Any, **options: Any) -> Any:
            run = functools.partial(super().execute, executor_plugin, *arguments, **options)
            dry = executor_plugin.common_settings.dryrun_exec
            if dry or not self.is_main_process or not self.execution_settings.lock:
                return run()
            with calling():
                try:
                    return run()
                except lock_error:
                    raise SystemExit(f"error: {locked()}") from None

    workflow.__class__ = Called
    if not workflow.check_envvars:  # as only the linter has it
        define((), ())


def _words(settings: Any) -> tuple[list[str], list[str]]:
    targets = sorted(settings.targets)
    return targets, [*targets, *settings.forcerun, *settings.until]
