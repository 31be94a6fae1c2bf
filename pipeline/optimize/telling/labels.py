"""Where labels of points stand so that they cover neither each other nor a point.

Greedy: the most crowded point chooses first among places on rings around it; a place covered least wins, a near one
before a far one. Source: the point-feature labelling of Christensen, Marks & Shieber 1995, section 3, without search.

Shapes: P points. Lengths are of one unit, such as typographic points.
"""

from __future__ import annotations

import numpy as np

RINGS = (11.0, 17.0, 25.0, 34.0, 44.0)
ANGLES = np.pi * np.array([0.25, 0.75, 1.75, 1.25, 0.5, 1.5, 0.0, 1.0, 0.4, 0.6, 1.4, 1.6])
POINT_SIZE = 9.0
RING_C2 = np.array([(ring * np.cos(angle), ring * np.sin(angle)) for ring in RINGS for angle in ANGLES])
SIDE_C2 = np.stack([np.sign(RING_C2[:, 0].round(6)), np.zeros(len(RING_C2))], axis=1)
"""A wide label moves further to its side, so that it begins where a narrow one would."""


def free_places(at_P2: np.ndarray, sizes_P2: np.ndarray, frame: tuple[float, float, float, float]) -> np.ndarray:
    """Returns float64 [P, 2]: centres of labels of these widths and heights, inside a frame x0, y0, x1, y1."""
    taken = [(x, y, POINT_SIZE, POINT_SIZE) for x, y in at_P2]
    near_P = (np.hypot(*(at_P2[:, None] - at_P2[None]).transpose(2, 0, 1)) < RINGS[2]).sum(axis=1)
    found_P2 = np.zeros_like(at_P2)
    for place in np.argsort(-near_P, kind="stable"):
        width, height = sizes_P2[place]
        offsets_C2 = RING_C2 + SIDE_C2 * max(0.0, width - POINT_SIZE) / 2
        costs = [
            _covered((*(at_P2[place] + offset), width, height), taken, frame) + 0.01 * np.hypot(*offset)
            for offset in offsets_C2
        ]
        found_P2[place] = at_P2[place] + offsets_C2[int(np.argmin(costs))]
        taken.append((*found_P2[place], width, height))
    return found_P2


def _covered(
    box: tuple[float, float, float, float],
    taken: list[tuple[float, float, float, float]],
    frame: tuple[float, float, float, float],
) -> float:
    """Returns how much of what is taken, or outside the frame, a label would cover; centres and sizes."""
    x, y, width, height = box
    inside = frame[0] <= x - width / 2 and x + width / 2 <= frame[2] and frame[1] <= y and y + height / 2 <= frame[3]
    over = 0.0 if inside else 1000.0
    for other_x, other_y, other_width, other_height in taken:
        shared_x = (width + other_width) / 2 - abs(x - other_x)
        shared_y = (height + other_height) / 2 - abs(y - other_y)
        over += max(0.0, shared_x) * max(0.0, shared_y)
    return over
