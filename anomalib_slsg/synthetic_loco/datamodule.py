"""SyntheticLOCO: a drawn data set with logical and structural anomalies, laid out as MVTec LOCO."""

import logging
from pathlib import Path

from anomalib.data import AnomalibDataModule
from anomalib.data.datasets.image.mvtec_loco import MVTecLOCODataset
from anomalib.data.utils import Split, TestSplitMode, ValSplitMode
from anomalib.utils.path import resolve_dataset_root
from torchvision.transforms.v2 import Transform

from anomalib_slsg.synthetic_loco.tree import TreePlan, is_complete, write_tree

logger = logging.getLogger(__name__)


class SyntheticLOCO(AnomalibDataModule):
    """Data module of drawn industrial scenes; it needs no download, and ``anomalib.data.MVTecLOCO`` reads it too.

    Categories: ``tray`` (compartment tray; kit colour, number of caps and tag must agree), ``bottle`` (juice bottle;
    label and juice must agree) and ``connector_board`` (two terminal blocks that must agree, joined by cables).
    Logical anomalies are missing, extra, swapped, wrongly coloured and wrongly matched parts; structural ones are
    scratches, stains, cracks and dents. ``prepare_data`` draws the one category that is asked for, and does nothing if
    it is there already.

    Args:
        root: Folder of the data set; ``None`` takes anomalib's data set folder.
        category: ``tray``, ``bottle`` or ``connector_board``.
        train_batch_size: Images of a training batch.
        eval_batch_size: Images of a validation or test batch.
        num_workers: Loader processes.
        train_augmentations: Augmentations of training images.
        val_augmentations: Augmentations of validation images.
        test_augmentations: Augmentations of test images.
        augmentations: Augmentations of those sets that have none of their own.
        test_split_mode: Where test images come from (``from_dir``: the tree's test folder).
        val_split_mode: Where validation images come from (``from_dir``: the tree's validation folder).
        test_split_ratio: Share of images for testing, for split modes that take one.
        val_split_ratio: Share of images for validation, for split modes that take one.
        seed: Seed of anomalib's random splits; it has no part in the drawing.
        image_size: Side of the images in pixels, at least 64.
        train_images: Number of normal training images.
        validation_images: Number of normal validation images.
        test_images: Number of test images of each type: good, logical, structural.
        data_seed: Seed of the drawing, at least 0. The same seed gives the same pixels with one version of OpenCV;
            others, and processors without AVX2, draw edges that differ by a few levels, and masks by a few pixels. More
            images leave the first ones as they are.

    Raises:
        ValueError: The category is unknown, or a number is too small.
    """

    def __init__(
        self,
        root: Path | str | None = "./datasets/SyntheticLOCO",
        category: str = "tray",
        train_batch_size: int = 32,
        eval_batch_size: int = 32,
        num_workers: int = 2,
        train_augmentations: Transform | None = None,
        val_augmentations: Transform | None = None,
        test_augmentations: Transform | None = None,
        augmentations: Transform | None = None,
        test_split_mode: TestSplitMode | str = TestSplitMode.FROM_DIR,
        val_split_mode: ValSplitMode | str = ValSplitMode.FROM_DIR,
        test_split_ratio: float | None = None,
        val_split_ratio: float | None = None,
        seed: int | None = None,
        image_size: int = 256,
        train_images: int = 120,
        validation_images: int = 20,
        test_images: int = 40,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            train_augmentations=train_augmentations,
            val_augmentations=val_augmentations,
            test_augmentations=test_augmentations,
            augmentations=augmentations,
            test_split_mode=test_split_mode,
            val_split_mode=val_split_mode,
            test_split_ratio=test_split_ratio,
            val_split_ratio=val_split_ratio,
            seed=seed,
        )
        self.root = Path(resolve_dataset_root(root, "SyntheticLOCO"))
        self.category = category
        self.plan = TreePlan(self.root, category, image_size, train_images, validation_images, test_images, data_seed)

    def prepare_data(self) -> None:
        """Draw the category's tree, unless it is complete.

        Raises:
            ValueError: The folder holds a tree that was drawn with other parameters or has lost images, or other files.
        """
        if is_complete(self.plan):
            return
        logger.info("Drawing %d images of %s into %s.", self.plan.total, self.category, self.plan.folder)
        write_tree(self.plan)

    # the hook that anomalib's own data modules override; there is no public one
    def _setup(self, _stage: str | None = None) -> None:
        """Read the three parts of the tree.

        Raises:
            RuntimeError: The tree is not there, or not whole.
            ValueError: The tree is another one, or has lost images.
        """
        if not is_complete(self.plan):
            raise RuntimeError(f"{self.plan.folder} holds no whole SyntheticLOCO tree; call prepare_data() first.")
        self.train_data = MVTecLOCODataset(root=self.root, category=self.category, split=Split.TRAIN)
        self.val_data = MVTecLOCODataset(root=self.root, category=self.category, split=Split.VAL)
        self.test_data = MVTecLOCODataset(root=self.root, category=self.category, split=Split.TEST)
