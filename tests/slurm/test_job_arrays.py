"""Job files of arrays: each task's share, and which task comes back."""

import pytest
from job_runner import RENDER, RUNS, Job
from omegaconf import OmegaConf


def test_a_render_task_names_its_share_of_the_frozen_list(job: Job) -> None:
    manifest = job.folder / "list, of [odd] name.txt"
    manifest.write_text("a.glb\n")
    variables = {"MANIFEST": str(manifest), "SHARDS": "3", "SLURM_ARRAY_TASK_ID": "2"}
    arguments = ["--config", "c.yaml", "workers=9"]
    code, output = job.run(RENDER, *arguments, CODE="0", SLURM_CPUS_PER_TASK="16", **variables)
    assert code == 0, output
    command, *overrides = job.lines("python_args")[1:]
    assert command == "blender_render.render"
    assert overrides[:4] == ["workers=4", *arguments]  # the user's number comes later and wins
    config = OmegaConf.from_dotlist(overrides[4:])
    output_folder = f"{job.folder}/scratch/videopapr/data/rendered"
    expected = {"assets": [f"@{manifest}"], "shard": 2, "shards": 3, "output": output_folder}
    assert config == expected


@pytest.mark.parametrize("shards", ["", "2", "two"])
def test_a_render_task_outside_its_shards_is_refused(job: Job, shards: str) -> None:
    (job.folder / "list.txt").write_text("a.glb\n")
    variables = {"MANIFEST": str(job.folder / "list.txt"), "SLURM_ARRAY_TASK_ID": "2"}
    code, output = job.run(RENDER, SHARDS=shards, **variables)
    assert code == 2
    assert "SHARDS" in output
    assert job.lines("python_args") == []


@pytest.mark.parametrize("done", ["a", ".a.partial/.done"], ids=["assets", "frames"])
def test_a_shard_comes_back_alone_with_its_share(job: Job, done: str) -> None:
    manifest = job.folder / "list.txt"
    manifest.write_text("a.glb\nb.glb\n")
    done = f"{job.folder}/scratch/videopapr/data/rendered/{done}"
    variables = {"MANIFEST": str(manifest), "SHARDS": "2", "SLURM_ARRAY_TASK_ID": "1"}
    code, output = job.run(RENDER, "x=1", RESUBMIT="1", SAVES_IN=done, **variables)
    assert code == 75, output
    assert job.lines("sbatch_args") == ["--array=1", RENDER, "x=1"]
    assert job.lines("sbatch_env") == [f"1 {manifest} 2"]


def test_a_task_of_many_runs_trains_its_share(job: Job) -> None:
    manifest = job.folder / "list.txt"
    manifest.write_text("name=a x=1\nname=b\nname=c 'data.path=a b'\n")
    variables = {"MANIFEST": str(manifest), "SHARDS": "2", "SLURM_ARRAY_TASK_ID": "0"}
    code, output = job.run(RUNS, "y=2", CODE="0", **variables)
    assert code == 0 and "run 1 of 3: name=a x=1" in output and "name=b" not in output, output
    runs = f"output_root={job.folder}/scratch/videopapr/runs"
    words = ["-m", "sjc_papr.train", "y=2", "name=c", "data.path=a b", runs]
    assert job.lines("python_args") == words
    code, output = job.run(RUNS, CODE="3", COMMAND="animate_papr.train", **variables)
    assert code == 3 and "run 3 of 3" in output, "one that fails keeps no other from its turn"
    code, output = job.run(RUNS, CODE="75", RESUBMIT="1", **variables)
    assert code == 75 and "run 3 of 3" not in output
    assert job.lines("sbatch_args") == ["--array=0", RUNS]
