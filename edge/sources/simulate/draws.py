"""Counter-based random numbers: a draw is a function of (key, counter), never of what came before.

splitmix64's finaliser (Steele, Lea, Flood 2014) over uint64 arrays. Because no generator state
is carried along, any span of time can be generated alone and gives the same values.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_LANE = np.uint64(0xD1342543DE82EF95)
_S30, _S27, _S31, _S11 = (np.uint64(n) for n in (30, 27, 31, 11))
_TO_UNIT = 2.0**-53
_U16 = np.uint64(0xFFFF)
_IRWIN_HALL_SD = 65536.0 * (4.0 / 12.0) ** 0.5


def mix(x: Keys) -> Keys:
    """splitmix64's finaliser, in place on a fresh array."""
    z = x + _GOLDEN
    z ^= z >> _S30
    z *= _M1
    z ^= z >> _S27
    z *= _M2
    z ^= z >> _S31
    return z


def key_of(seed: int, *names: str | int) -> np.uint64:
    """A 64-bit key for a name: stable over releases of Python and numpy."""
    text = "\0".join(str(name) for name in (seed, *names))
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"))


def bits(keys: Keys, counter: NDArray[np.int64], lane: int = 0) -> Keys:
    """64 random bits per row for (key, counter, lane). Shapes broadcast."""
    with np.errstate(over="ignore"):
        at = counter.astype(np.uint64) * _GOLDEN
        return mix(keys + at + np.uint64(lane) * _LANE)


def unit(keys: Keys, counter: NDArray[np.int64], lane: int = 0) -> Floats:
    """Uniform in [0, 1)."""
    return (bits(keys, counter, lane) >> _S11).astype(np.float64) * _TO_UNIT


def gauss(keys: Keys, counter: NDArray[np.int64], lane: int = 0) -> Floats:
    """About normal (0, 1): the sum of four 16-bit uniforms of one draw, so within +-3.47."""
    h = bits(keys, counter, lane)
    total = (h & _U16).astype(np.float64)
    for shift in (16, 32, 48):
        total += ((h >> np.uint64(shift)) & _U16).astype(np.float64)
    total -= 2.0 * 65535.0
    total /= _IRWIN_HALL_SD
    return total


def draw(key: np.uint64, counter: int, lane: int = 0) -> float:
    """One uniform number in [0, 1)."""
    keys = np.array([key], np.uint64)
    return float(unit(keys, np.array([counter], np.int64), lane)[0])
