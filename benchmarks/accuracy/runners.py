"""anomalib's runners of jobs, with two differences: a failed job ends the run, and a bar shows how far it is.

anomalib's own go on after a failure and report at the end that there was one. Here a job may take hours, and what made
one fail, such as a data set that is not there, awaits the others too.
"""

from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any

import rich
from anomalib.pipelines.components.base import Runner
from anomalib.pipelines.components.runners import ParallelRunner, SerialRunner

from benchmarks.accuracy.job import AccuracyJob
from benchmarks.accuracy.jobs import AccuracyJobs
from benchmarks.common.progress import progress_bar


class StoppingSerialRunner(SerialRunner):
    """Runs one job after the other until one fails."""

    generator: AccuracyJobs

    def run(self, args: dict, prev_stage_results: Any = None) -> list[dict[str, str]]:
        """Run the jobs.

        Args:
            args: The matrix.
            prev_stage_results: Unused.

        Returns:
            The rows.

        Raises:
            RuntimeError: If a job fails; names it.
        """
        jobs = _listed(self.generator, args)
        results = []
        with progress_bar() as progress:
            task = progress.add_task("", total=len(jobs))
            for job in jobs:
                progress.update(task, description=job.label)
                results.append(job.run())
                progress.advance(task)
        return results


class StoppingParallelRunner(ParallelRunner):
    """Runs as many jobs at a time as there are devices; after a failure, those that run are finished."""

    generator: AccuracyJobs

    def run(self, args: dict, prev_stage_results: Any = None) -> list[dict[str, str]]:
        """Run the jobs.

        Args:
            args: The matrix.
            prev_stage_results: Unused.

        Returns:
            The rows.

        Raises:
            RuntimeError: If a job fails; names it.
        """
        with progress_bar() as self._progress:
            self._task = self._progress.add_task("jobs", total=len(_listed(self.generator, args)))
            return super().run(args, prev_stage_results)

    def _await_cleanup_processes(self, blocking: bool = False) -> None:
        running = {index: process for index, process in self.processes.items() if process is not None}
        if not blocking:
            wait(running.values(), return_when=FIRST_COMPLETED)
        for index, process in running.items():
            if blocking or process.done():
                self.results.append(process.result())
                self.processes[index] = None
                self._progress.advance(self._task)


def _listed(generator: AccuracyJobs, matrix: dict[str, Any]) -> list[AccuracyJob]:
    """List the jobs, and say how many are left out."""
    jobs = generator.generate_jobs(matrix)
    if done := len(generator.all_jobs(matrix)) - len(jobs):
        rich.print(f"Results in {generator.rows.path} already, which are not measured again: {done}.")
    return jobs


def make_runner(jobs: AccuracyJobs, devices: int) -> Runner:
    """Choose the runner.

    Args:
        jobs: The jobs to do.
        devices: Jobs at a time.

    Returns:
        A runner that stops at the first failure.
    """
    return StoppingParallelRunner(jobs, devices) if devices > 1 else StoppingSerialRunner(jobs)
