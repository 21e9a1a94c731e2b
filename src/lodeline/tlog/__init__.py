"""The log as it grows: the tree's right edge, signed checkpoints; its files, and their check."""

from lodeline.tlog.checkpoints import Checkpoint, sign_checkpoint
from lodeline.tlog.tree import FullTile, GrowingTree

__all__ = ["Checkpoint", "FullTile", "GrowingTree", "sign_checkpoint"]
