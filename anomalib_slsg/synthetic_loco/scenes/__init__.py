"""The products that can be drawn, by category name."""

from anomalib_slsg.synthetic_loco.scenes.base import DefectType, Scene
from anomalib_slsg.synthetic_loco.scenes.board import ConnectorBoard
from anomalib_slsg.synthetic_loco.scenes.bottle import Bottle
from anomalib_slsg.synthetic_loco.scenes.tray import Tray

SCENES: dict[str, type[Scene]] = {"tray": Tray, "bottle": Bottle, "connector_board": ConnectorBoard}

__all__ = ["SCENES", "DefectType", "Scene"]
