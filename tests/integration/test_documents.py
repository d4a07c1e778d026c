"""The documents' code blocks run, in the order in which a reader copies them, and quoted messages are the code's.

Each document's commands run in a folder of their own with ``my_images/good``, ``my_images/defect``, ``new_images`` and
small trees of public data sets. The lists below say all that differs from what a reader does: what is not run, what is
only parsed or shown, what is added to commands so that they take seconds, and what stands for something else.
"""

import contextlib
import importlib
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from anomalib import data
from anomalib.cli import AnomalibCLI

import anomalib_slsg
from anomalib_slsg.cli.main import main
from tests.support.commands import run
from tests.support.documents import DOCUMENTS, Block, blocks_of, is_among, messages_in, quoted_messages
from tests.support.paths import CONFIGS, REPOSITORY
from tests.support.trees import (
    write_defects,
    write_defects_config,
    write_images,
    write_mvtec_ad_tree,
    write_mvtec_loco_tree,
)

# the command replaces anomalib's readers for its whole process, which later tests are to have again
pytestmark = pytest.mark.usefixtures("plain_reading")

NOT_RUN = {  # how a command begins, and why a test does not run it
    "cd": "the test is in its folder already",
    "cmake": "examples/cpp has a test of its own",
    "git": "needs a network",
    "make": "sets up an environment, or runs all tests",
    "mogrify": "a program of others",
    "pip": "sets up an environment",
    "pytest": "runs these tests",
    "python -m venv": "sets up an environment",
    "python -m benchmarks.": "takes minutes; test_accuracy_benchmark.py and test_speed_benchmarks.py run it",
    "slsg doctor": "looks at the machine; test_slsg.py runs it",
    "source": "is of the shell itself",
    "sudo apt": "changes the machine",
}
PARSED = {"anomalib export": "test_deployment.py runs it"}  # how a command begins whose options are only checked
PROGRAMS = {"anomalib", "cp", "export", "ls", "mkdir", "python", "slsg"}  # that are run
SHOWN = {  # languages of what is no input
    "cpp": "examples/cpp has a test of its own",
    "powershell": "of Windows",
    "text": "output, and trees of folders",
}
TINY = [
    *("--model.backbone", "test_efficientnet", "--model.encoder_weights", "null"),
    *("--model.pretraining.epochs", "0"),
]
# without normality, with which an export takes half as long again
ALONE = ["--image_size", "32", *TINY, "--model.normality.measures", "[]", "--model.optimizer.iterations", "1"]
JOINED = [
    *("--model.image_size", "32", *TINY, "--trainer.max_steps", "1", "--data.num_workers", "0"),
    *("--model.normality", "{backbone: test_efficientnet, encoder_weights: null}"),
]
ADDED = {  # to commands that begin so
    "slsg train": ALONE,
    "slsg preview": ["--size", "32", "--count", "1"],
    "anomalib train": JOINED,
    "anomalib fit": JOINED,
    "python -m anomalib_slsg.simulation.preview": ["--size", "32", "--count", "1"],
}
TINY_IN_PYTHON = (
    "Slsg(backbone='test_efficientnet', encoder_weights=None, image_size=32, pretraining={'epochs': 0}, "
    "normality={'backbone': 'test_efficientnet', 'encoder_weights': None})"
)
REPLACED = {  # in all blocks
    "Slsg()": TINY_IN_PYTHON,
    'Slsg(pretraining={"epochs": 0})': TINY_IN_PYTHON,
    "Padim(": "Padim(pre_trained=False, ",
    "max_steps=400": "max_steps=1",
    "max_steps=500": "max_steps=1",
}
DEFECTS = [{"defect_name": "bar", "pixel_value": 255, "saturation_threshold": 1.0, "relative_saturation": True}]
# documents with the second but not the first begin with a trained model
TRAINS, TRAINED = "slsg train my_images", "results/my_images"
LONGEST = 180  # seconds that a block may take, on a machine with other work


def name_of(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


def begins(words: list[str], starts: Iterable[str]) -> bool:
    return any(" ".join(words).startswith(start) for start in starts)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_is_of_a_kind_that_is_known(document: Path) -> None:
    for block in blocks_of(document):
        assert block.language in {*SHOWN, *RUNS}, f"{block.place}: what is a test to do with '{block.language}'?"
        for _, words in block.commands if RUNS.get(block.language) is run_shell else ():
            known = words[0] in PROGRAMS or begins(words, NOT_RUN)
            assert known, f"{block.place}: '{words[0]}' is no program that a test runs; name the block's language"


@pytest.mark.slow
@pytest.mark.parametrize("document", [each for each in DOCUMENTS if blocks_of(each)], ids=name_of)
@pytest.mark.usefixtures("place")
def test_blocks_run_in_order(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in blocks_of(document) if block.language in RUNS]
    written = "".join(block.text for block in blocks)
    if TRAINED in written and TRAINS not in written:
        assert run_command(TRAINS.split()) == 0
    for block in blocks:
        text = block.text
        for words, meant in REPLACED.items():
            text = text.replace(words, meant)
        print(f"{block.place}:\n{text}")  # which pytest shows of a block that fails
        with in_time(block):
            RUNS[block.language](block._replace(text=text), monkeypatch)


@contextlib.contextmanager
def in_time(block: Block) -> Iterator[None]:
    """Stop what nothing above has shortened."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"{block.place} takes more than {LONGEST} s: shorten it by ADDED or REPLACED")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_shell(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, words in block.commands:
        with monkeypatch.context() as of_command:
            for each in settings:
                of_command.setenv(*each.split("=", 1))
            if words[0] == "export":
                for each in words[1:]:
                    monkeypatch.setenv(*each.split("=", 1))
            elif not begins(words, NOT_RUN):
                code = run_command(words)
                assert code == 0 or (code == 3 and "--fail_on_anomaly" in words), f"{block.place}: {words} gave {code}"


def run_command(words: list[str]) -> int:
    """Run a command, inside this process where it is of Python."""
    program, *arguments = words
    arguments += next((more for start, more in ADDED.items() if begins(words, [start])), [])
    try:
        if program == "slsg":
            return main(arguments)
        if program == "anomalib":
            AnomalibCLI(args=arguments, run=not begins(words, PARSED))
        elif words[:2] == ["python", "-m"]:
            importlib.import_module(arguments[1]).main(arguments[2:])
        else:
            run(Path.cwd(), *words)
    except SystemExit as ended:  # as of --help
        return int(ended.code or 0)
    return 0


def run_python(block: Block, _monkeypatch: pytest.MonkeyPatch) -> None:
    exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})


def parse_yaml(block: Block, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line check options, of which a model may be left out."""
    Path("block.yaml").write_text(block.text, encoding="utf-8")
    model = [] if "class_path" in yaml.safe_load(block.text).get("model", {}) else ["--model", "anomalib_slsg.Slsg"]
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(sys.stderr):
        AnomalibCLI(args=["train", *model, "--config", "block.yaml", "--print_config"])
    assert ended.value.code == 0, block.place


RUNS: dict[str, Callable[[Block, pytest.MonkeyPatch], None]] = {
    "bash": run_shell,
    "json": lambda block, _: json.loads(block.text),
    "python": run_python,
    "shell": run_shell,
    "yaml": parse_yaml,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What documents take to be there: a user's images, and trees of public data sets."""
    root, generator = tmp_path_factory.mktemp("documents"), np.random.default_rng(3)
    write_images(root / "my_images" / "good", 13, generator)
    write_defects(root / "my_images" / "defect", 3, generator, lambda index: root / "my_masks" / f"{index:03d}.png")
    write_images(root / "new_images" / "line 1", 1, generator)
    photograph = cv2.imread(str(root / "my_images" / "defect" / "000.png"))
    assert cv2.imwrite(str(root / "new_images" / "new.jpg"), cv2.resize(photograph, (91, 57)))
    shutil.copy(root / "new_images" / "new.jpg", root / "new.jpg")
    write_mvtec_ad_tree(root / "datasets" / "MVTecAD")
    write_mvtec_loco_tree(root / "datasets" / "MVTec_LOCO")
    for folder, category in (("MVTecAD", "bottle"), ("MVTec_LOCO", "juice_bottle")):
        (root / "datasets" / folder / "part").rename(root / "datasets" / folder / category)
    write_defects_config(root / "datasets" / "MVTec_LOCO" / "juice_bottle", DEFECTS)
    shutil.copytree(CONFIGS, root / "configs")
    return root


@pytest.fixture
def place(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in which a reader works."""
    monkeypatch.chdir(shutil.copytree(images, tmp_path / "project"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("COLUMNS", "1000")


def test_messages_are_quoted_as_they_are() -> None:
    texts = [text for package in (anomalib_slsg, data) for text in messages_in(Path(package.__path__[0]))]
    quoted = quoted_messages(REPOSITORY / "docs" / "troubleshooting.md")
    assert len(quoted) >= 25
    assert [message for message in quoted if not is_among(message, texts)] == []
