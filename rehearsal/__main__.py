"""`python -m rehearsal`: the paper's scale, cut to minutes, from downloads to the report on a throw-away Slurm.

1. **Faults.** Each download meets a fault of the server that lasts; each must end in one line, and nothing may count as
   done.
2. **Downloads.** The same call again, with faults that pass: everything is fetched.
3. **The grid.** The server answers nobody any more, and Snakemake submits everything else to Slurm.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from rehearsal import stable_diffusion, weights
from rehearsal.cluster import Cluster, cluster, missing_programs
from rehearsal.faults import Busy, Changed, Drip, Dropped, Fault, Nowhere, Page, Truncated
from rehearsal.hub import Hub, hub_serving
from rehearsal.place import Place, Stage, lay_out
from rehearsal.results import Failed, check_results, said_by, times
from rehearsal.server import Server

DOWNLOADS = ("images", "encoder", "diffusion_model", "inception")


# Faults ---------------------------------------------------------------------------------------------------------------


def sources(hub: Hub) -> dict[str, tuple[Server, str]]:
    """Where the largest file of each download comes from: by a word of the output that it makes."""
    return {
        "cifar-10-32px": (hub, "/cifar-10/cifar-10-python.tar.gz"),
        "cifar-100-32px": (hub, "/cifar-100/cifar-100-python.tar.gz"),
        "eurosat": (hub, "/eurosat/EuroSAT.zip"),
        "caltech256": (hub, "/caltech256/256_ObjectCategories.tar"),
        "sun397": (hub, "/sun397/SUN397.tar.gz"),
        "oxford-pet": (hub, "/oxford-pet/annotations.tar.gz"),
        "vit-b-16": hub.source(weights.VIT, "open_clip_model.safetensors"),
        "convnext": hub.source(weights.CONVNEXT, "open_clip_model.safetensors"),
        "stable-diffusion": hub.source(stable_diffusion.DIFFUSION, "unet/diffusion_pytorch_model.safetensors"),
        "inception": (hub, "/inception.pth"),
    }


LASTING: Mapping[str, Fault] = {
    "eurosat": Dropped(share=0.3),
    "caltech256": Busy(status=503),
    "sun397": Nowhere(),
    "oxford-pet": Page(),
    "cifar-100-32px": Truncated(),
    "vit-b-16": Changed(),
    "inception": Busy(status=429, retry_after="86400"),
}

PASSING: Mapping[str, Fault] = {
    "eurosat": Busy(1, status=503),
    "caltech256": Dropped(2),
    "sun397": Busy(1, status=429, retry_after="2"),
    "oxford-pet": Drip(1, piece=200, pause_s=0.02),
    "cifar-100-32px": Nowhere(1),
    "vit-b-16": Dropped(1, share=0.6),
    "convnext": Changed(1),
    "inception": Dropped(2, share=0.4),
}


@contextlib.contextmanager
def faulty(hub: Hub, faults: Mapping[str, Fault]) -> Iterator[None]:
    """A server with these faults, by the words of `sources`."""
    where = sources(hub)
    for word, fault in faults.items():
        server, path = where[word]
        server.faults[path] = fault
    try:
        yield
    finally:
        hub.faults.clear()
        hub.objects.faults.clear()


def outputs(folder: Path) -> list[str]:
    """What counts as done of the downloads."""
    kinds = (
        "images/*/meta.json",
        "encoders/*/open_clip_config.json",
        "diffusion/*/model_index.json",
        "inception/*/weights.pth",
    )
    return sorted(path.relative_to(folder).as_posix() for kind in kinds for path in (folder / "data").glob(kind))


def refused(place: Place, stage: Stage) -> None:
    """The first part: faults that last, a token that has expired, and a repository that is gated."""
    place.hub.repositories[stable_diffusion.DIFFUSION].gated = True
    with faulty(place.hub, LASTING):
        done = place.snakemake("--retries", "0", "--until", *DOWNLOADS, "--", "all", log="faults.log")
        if done.returncode == 0:
            raise Failed("every download met a fault, and Snakemake says that all is well")
        there = outputs(place.folder)
        lines = {
            path: said_by(path) for path in sorted((place.folder / "logs").rglob("*.log")) if "slurm" not in path.parts
        }
        for word in [*LASTING, "stable-diffusion"]:
            if any(word in one for one in there):
                raise Failed(f"a download with a fault counts as done: {word}")
            # Of each resolution of a data set, or of the one file there is.
            told = [said for path, said in lines.items() if word in path.name]
            if not told or not all(told):
                raise Failed(f"{word}: a download that met a fault said nothing")
            stage.say(f"{word}: {told[-1]}")
    place.hub.repositories[stable_diffusion.DIFFUSION].gated = False
    done = place.snakemake(
        "--retries", "0", "--until", "encoder", "--", "table12", log="token.log", HF_TOKEN="hf_rehearsalexpired"
    )
    (said,) = {said_by(path) for path in (place.folder / "logs" / "encoders").glob("vit-b-16*")}
    if done.returncode == 0 or "expired" not in said:
        raise Failed(f"a token that has expired: {said or 'no error'}")
    stage.say(f"an expired token: {said}")


# The grid -------------------------------------------------------------------------------------------------------------


def rehearse(home: Path, cache: Path, stage: Stage, faults: bool = True) -> None:
    """Run all of it in an empty folder.

    Raises:
        Failed: at the first thing that is not as it should be.
    """
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(hub_serving())
        folder = home / "clone"
        lay_out(folder, hub, cache, stage)
        (home / "slurm").mkdir()
        slurm: Cluster = stack.enter_context(cluster(home / "slurm", gpus=2))
        place = Place(folder, hub, f"{slurm.commands}:{os.environ['PATH']}")
        stage.say("a Slurm with two processors and two pretended GPUs")
        if faults:
            refused(place, stage)
        with faulty(hub, PASSING if faults else {}):
            done = place.snakemake("--until", *DOWNLOADS, "--", "all", log="downloads.log")
        if done.returncode:
            raise Failed(f"the downloads failed:\n{done.stdout[-3000:]}")
        stage.say(f"downloads: {len(outputs(folder))} outputs, {len(hub.asked) + len(hub.objects.asked)} requests")
        if hub.objects.tokens - {""}:
            raise Failed("a token was sent to the store of objects")
        pickles = [place for _, place, _ in [*hub.asked, *hub.objects.asked] if place.endswith(".bin")]
        if pickles:
            raise Failed(f"a pickle was asked for: {pickles[0]}")
        asked = len(hub.asked) + len(hub.objects.asked)
        hub.silent = hub.objects.silent = True
        done = place.snakemake("--", "all", log="grid.log")
        if done.returncode:
            raise Failed(f"the grid failed:\n{done.stdout[-3000:]}\n{slurm.logs()}")
        if len(hub.asked) + len(hub.objects.asked) > asked:
            raise Failed(f"something else was downloaded: {hub.asked[-1]}")
        stage.say("the grid: " + ", ".join(f"{count} {what}" for what, count in check_results(folder).items()))
        again = place.snakemake("--dry-run", "--", "all", log="again.log")
        if "Nothing to be done" not in again.stdout:
            raise Failed(f"a second call finds more to do:\n{again.stdout[-2000:]}")
        stage.say("a second call finds nothing to do")
        for rule, jobs, total, longest in times(folder):
            stage.say(f"{rule}: {jobs} jobs, {total:.0f} s, the longest {longest:.0f} s")


def main() -> int:
    """Run the rehearsal; the exit status is 1 if it failed."""
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="an empty folder to work in, and to keep; by default one that goes")
    parser.add_argument("--cache", type=Path, help="where random weights are kept for the next rehearsal")
    parser.add_argument("--no-faults", action="store_true", help="only what works")
    parser.add_argument("--log", type=Path, help="where to write the summary, as Markdown")
    given = parser.parse_args()
    if lacking := missing_programs():
        parser.error(f"there is no {lacking[0]}; on Debian and Ubuntu: apt-get install slurm-wlm munge")
    stage = Stage()
    with contextlib.ExitStack() as stack:
        home = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpmix-rehearsal-")))
        home = home.resolve()
        home.mkdir(parents=True, exist_ok=True)
        if any(home.iterdir()):
            parser.error(f"{home} is not empty; name another folder, or empty it")
        try:
            rehearse(home, (given.cache or home / "cache").resolve(), stage, faults=not given.no_faults)
        except Failed as error:
            stage.say(f"FAILED: {error}")
            return 1
        finally:
            if given.log:
                given.log.write_text("\n".join(stage.lines) + "\n", encoding="utf-8")
    stage.say("the rehearsal is over, and nothing is amiss")
    return 0


if __name__ == "__main__":
    sys.exit(main())
