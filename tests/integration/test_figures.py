"""``slsg figures`` on a tiny checkpoint."""

from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from matplotlib.figure import Figure

from anomalib_slsg.cli.figures import trained
from anomalib_slsg.cli.figures.command import FIGURES, PROCEDURAL
from anomalib_slsg.cli.figures.subject import OWN, Subject
from anomalib_slsg.cli.main import main
from anomalib_slsg.report.figures import column
from anomalib_slsg.report.figures.column import save_figure

pytestmark = pytest.mark.usefixtures("plain_reading")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column, "RESOLUTION", 60)
    monkeypatch.setattr(trained, "SEGNET_STEPS", 2)
    monkeypatch.setattr(trained, "GPT_NET_STEPS", (2, 2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def write_changed(checkpoint: Path, file: Path, group: str, **options: Any) -> None:
    """Write a checkpoint with other options of a group."""
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"][group] = {**content["hyper_parameters"][group], **options}
    torch.save(content, file)


def test_all_figures_are_made(
    fitted: object,
    mvtec_ad_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    captions: dict[str, str] = {}

    def save(figure: Figure, folder: Path, name: str) -> list[Path]:
        captions[name] = " ".join(figure.get_supxlabel().split())
        return save_figure(figure, folder, name)

    monkeypatch.setattr(column, "save_figure", save)
    out = tmp_path / "out"
    data = mvtec_ad_tree / "part"
    assert main(["figures", "--checkpoint", str(fitted.checkpoint), "--data", str(data), "--output", str(out)]) == 0
    assert "left out" not in capsys.readouterr().out
    names = {f"figure_{number.replace('.', '_')}_{name}" for number, (name, _) in FIGURES.items()}
    files = {file.name for file in out.iterdir()}
    assert files == {f"{name}{ending}" for name in names for ending in (".png", ".svg")} | {"figure_4_8_speed.md"}
    for name in names:
        assert cv2.imread(str(out / f"{name}.png")).std() > 10
    unsimulated = {"figure_10_reconstructions", "figure_4_8_speed"}
    assert {name for name, caption in captions.items() if PROCEDURAL not in caption} == unsimulated


def test_further_models_are_compared(
    fitted: object, mvtec_ad_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--checkpoint", str(fitted.checkpoint), "--data", str(mvtec_ad_tree / "part"), "--figure", "6"]
    own = ["--models", f"{{PaDiM: {fitted.checkpoint}}}"]
    assert main(["figures", *arguments, *own, "--output", str(tmp_path / "out")]) == 0
    assert [file.suffix for file in sorted((tmp_path / "out").iterdir())] == [".png", ".svg"]
    assert main(["figures", *arguments, "--models", f"{{{OWN}: {fitted.checkpoint}}}"]) == 2
    assert "--models" in capsys.readouterr().err


def test_opinions_joined_are_what_the_checkpoint_says(fitted: object, mvtec_ad_tree: Path) -> None:
    subject = Subject(fitted.checkpoint, mvtec_ad_tree / "part", {})
    assert list(subject.judged) == ["SLSG", "SegNet", "normality"]
    with torch.no_grad():
        for place in range(len(subject.paths)):
            said = subject.model.model(subject.example(place).image[None])
            assert subject.judged[OWN].scores[place].item() == pytest.approx(said.pred_score.item(), abs=1e-5)
            assert abs(subject.judged[OWN].maps[place] - said.anomaly_map[0, 0].numpy()).max() < 1e-5


def test_what_cannot_be_drawn_is_said(
    fitted: object, folder_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without masks there is no sPRO; of an image folder's masks ``slsg`` knows nothing."""
    arguments = ["--checkpoint", str(fitted.checkpoint), "--figure", "11", "--output", str(tmp_path / "out")]
    assert main(["figures", *arguments, "--data", str(folder_tree)]) == 2
    assert "figure 11: the data have no mask of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_checkpoints_without_each_loss_take_the_place_of_trainings(
    fitted: object, mvtec_ad_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {name: tmp_path / f"{name}.ckpt" for name in ("l1", "focal", "auxiliary")}
    for name, file in models.items():
        write_changed(fitted.checkpoint, file, "loss", **{f"{name}_weight": 0.0})
    monkeypatch.setattr(trained, "train_segnet", None)
    figure = trained.losses(Subject(fitted.checkpoint, mvtec_ad_tree / "part", models)).figure
    assert "All are checkpoints" in figure.get_supxlabel()
    del models["focal"]
    with pytest.raises(TypeError, match="not callable"):  # then all are trained here
        trained.losses(Subject(fitted.checkpoint, mvtec_ad_tree / "part", models))


def test_a_checkpoint_without_segnet_leaves_its_figures_out(
    fitted: object,
    mvtec_ad_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_changed(fitted.checkpoint, tmp_path / "model.ckpt", "optimizer", iterations=0)
    arguments = ["figures", "--checkpoint", str(tmp_path / "model.ckpt"), "--data", str(mvtec_ad_tree / "part")]
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 0
    said = capsys.readouterr().out
    made = {file.name.split("_")[1] for file in (tmp_path / "results" / "figures").iterdir()}
    assert made == {"5", "6", "11", "4"}
    for number in ("3", "7", "8", "9", "10"):
        assert f"Figure {number} is left out: '{tmp_path / 'model.ckpt'}' has no SegNet" in said
    assert main([*arguments, "--figure", "8"]) == 2
    assert "error: figure 8: " in capsys.readouterr().err
