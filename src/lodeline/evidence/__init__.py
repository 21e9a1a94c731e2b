"""Evidence packs: an answer with everything that proves it, for someone without store or network.

`collecting` puts a pack together, `summary` writes its pages for people, `offline` verifies one
and travels in it. What a pack holds is checked by `lodeline.fold.evidence` and `lodeline.proof`.
"""

from lodeline.evidence.collecting import build_pack
from lodeline.evidence.offline import read_files

__all__ = ["build_pack", "read_files"]
