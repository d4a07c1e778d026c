"""``slsg figures`` on a tiny checkpoint."""

from pathlib import Path

import cv2
import pytest
import torch

from anomalib_slsg.cli.figures import trained
from anomalib_slsg.cli.figures.command import FIGURES
from anomalib_slsg.cli.figures.subject import OWN, Subject
from anomalib_slsg.cli.main import main

pytestmark = pytest.mark.usefixtures("plain_reading")


@pytest.fixture(autouse=True)
def _two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "SEGNET_STEPS", 2)
    monkeypatch.setattr(trained, "GPT_NET_STEPS", (2, 2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_all_figures_are_made(
    fitted: object, mvtec_ad_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    data = mvtec_ad_tree / "part"
    assert main(["figures", "--checkpoint", str(fitted.checkpoint), "--data", str(data), "--output", str(out)]) == 0
    assert "left out" not in capsys.readouterr().out
    names = {f"figure_{number.replace('.', '_')}_{name}" for number, (name, _) in FIGURES.items()}
    files = {file.name for file in out.iterdir()}
    assert files == {f"{name}{ending}" for name in names for ending in (".png", ".svg")} | {"figure_4_8_speed.md"}
    for name in names:
        assert cv2.imread(str(out / f"{name}.png")).std() > 10


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


def test_a_checkpoint_without_segnet_leaves_its_figures_out(
    fitted: object,
    mvtec_ad_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = torch.load(fitted.checkpoint, weights_only=True)
    checkpoint["hyper_parameters"]["optimizer"] = {**checkpoint["hyper_parameters"]["optimizer"], "iterations": 0}
    torch.save(checkpoint, tmp_path / "model.ckpt")
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
