"""Which of many alike are kept: decided by their identifiers alone.

Whoever knows the identifier and the share decides the same, whatever process or machine it is on,
and in whatever order; so samplers need not talk, and a prediction kept in one place is kept in all.
"""

from __future__ import annotations

import hashlib
from typing import Final

_WHOLE: Final = 1 << 64


def is_sampled(identifier: str, share: float) -> bool:
    """Whether an identifier belongs to a share of all.

    Args:
        identifier: any text; compared without case.
        share: from 0, none, to 1, all. What a share holds, a greater share holds, too.
    """
    digest = hashlib.sha256(identifier.lower().encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * _WHOLE
