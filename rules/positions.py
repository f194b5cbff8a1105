"""Where a mask is true."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def true_at(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The positions of a one-dimensional mask, ascending.

    The same as `np.flatnonzero`, whose detour costs more than the search on a short batch.

    >>> true_at(np.array([True, False, True]))
    array([0, 2])
    """
    return mask.nonzero()[0]
