"""Where the workflow is rehearsed: a folder like a fresh clone, its environment, and what a person sees meanwhile."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal import stable_diffusion, weights
from rehearsal.archives import DATA_SETS, Made
from rehearsal.hub import Hub
from rehearsal.scale import NAME, rehearsed
from rehearsal.server import Content, sha256

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


@dataclass
class Stage:
    """What a person sees of the rehearsal, and the times in it."""

    started: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Print a line with the time since the beginning, and keep it."""
        seconds = int(time.monotonic() - self.started)
        told = f"[{seconds // 60:2d}:{seconds % 60:02d}] {line}"
        self.lines.append(told)
        print(told, flush=True)


@dataclass(frozen=True)
class Place:
    """A folder in which the workflow runs as in a fresh clone, and the environment of what runs there."""

    folder: Path
    hub: Hub
    path: str

    def environment(self) -> dict[str, str]:
        """Without tokens, proxies and caches of this account: everything comes from the server, into the folder."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING", "TORCH_HOME", "SNAKEMAKE", "XDG_CACHE"))
            and not name.lower().endswith("_proxy")
        }
        return {
            **kept,
            "PATH": f"{BIN}:{self.path}",
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": str(self.folder / "hub"),
            "TORCH_HOME": str(self.folder / "torch"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }

    def snakemake(self, *arguments: str, log: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake with the cluster's profile; its output goes to a log beside the folder."""
        line = [
            sys.executable,
            "-m",
            "snakemake",
            "--profile",
            "slurm",
            "--cores",
            "2",
            "--config",
            f"scale={NAME}",
            # This cluster keeps no accounts, and there is no reason to wait for one small machine.
            "--slurm-no-account",
            "--slurm-status-command",
            "squeue",
            "--slurm-init-seconds-before-status-checks",
            "2",
            "--latency-wait",
            "10",
            "--seconds-between-status-checks",
            "2",
            *arguments,
        ]
        done = subprocess.run(
            line,
            cwd=self.folder,
            env={**self.environment(), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        (self.folder.parent / log).write_text(done.stdout, encoding="utf-8")
        return done


def lay_out(folder: Path, hub: Hub, cache: Path, stage: Stage) -> dict[str, Made]:
    """Put archives and repositories on the server, and a clone with the params of the rehearsal into the folder."""
    folder.mkdir(parents=True)
    for name in ("workflow", "slurm"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "environment.yml", folder)
    made = {name: make() for name, make in DATA_SETS.items()}
    for name, one in made.items():
        for file, content in one.files.items():
            hub.files[f"/{name}/{file}"] = Content(content)
    stage.say(f"archives of {len(made)} data sets")
    hub.repositories[stable_diffusion.DIFFUSION] = stable_diffusion.diffusion_repository(cache)
    for number, (name, architecture) in enumerate(((weights.VIT, "ViT-B-16"), (weights.CONVNEXT, "convnext_base_w"))):
        hub.repositories[name] = weights.open_clip_repository(architecture, cache, f"{number + 1}" * 40)
        stage.say(f"weights of {name}")
    inception = weights.inception(cache)
    hub.files["/inception.pth"] = Content(inception)
    stage.say("weights of InceptionV3")
    import yaml
    from ruamel.yaml import YAML

    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    told = {"url": f"{hub.url}/inception.pth", "sha256": sha256(inception)}
    text = yaml.safe_dump(rehearsed(params, made, hub.url, told), sort_keys=False, allow_unicode=True)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return made
