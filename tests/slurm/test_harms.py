"""What may happen to a job on a cluster: the quickest harms of the drill, each put right by the same command."""

from dataclasses import replace

import pytest

from rehearsal.cluster import missing_programs
from tests.drill import cluster
from tests.drill.judge import IDENTICAL
from tests.drill.place import World, new_world
from tests.drill.run import drill
from tests.needs import SLURM, needs
from tests.workflow.test_workflow import REDUCED

PARAMS = REDUCED.replace("seeds: [1, 2]", "seeds: [1]")


@pytest.mark.slow
@needs(SLURM, not missing_programs())
@pytest.mark.timeout(900)
def test_a_cancelled_and_a_requeued_job_too_little_memory_and_a_submitter_that_is_killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    world: World = new_world("small", tmp_path_factory.mktemp("harms") / "checkout", "table12", params=PARAMS)
    names = {
        "the job is cancelled", "the job is put back into the queue", "the job runs out of memory",
        "the submitting process is killed",
    }  # fmt: skip
    cases = [replace(case, times=1) for case in cluster.CASES if case.name in names]
    found = drill(world, cases, seed=2)
    assert {one.name for one in found} == names
    assert [one for one in found if one.ending != IDENTICAL] == []
