"""Pictures of the decision as inline SVG: intervals around their limits, and both servers' latencies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from pipeline.gate.rules import Finding
from pipeline.model.baselines import BASELINES

WIDTH, LABEL, RIGHT = 920, 210, 150
ROW, TOP, BOTTOM = 34, 18, 40
COLOURS = {"pass": "#1a7f4b", "fail": "#c0362c", "inconclusive": "#b7791f", "reported": "#7b8794"}
SIDES = {"challenger": "#2458c5", "champion": "#e08a2b"}
FAR = {f"recall_{name}" for name in BASELINES}
INK, SOFT, LINE = "#1f2933", "#616e7c", "#e4e7eb"


def intervals(findings: Sequence[Finding]) -> str:
    """Returns paired differences in % of the other side's recall, each with its interval and limit; or nothing."""
    rows = [f for f in findings if f.difference is not None and f.champion]
    # Where there is a champion, distances to the baselines would squeeze what the decision hangs on.
    rows = [f for f in rows if f.metric not in FAR] or rows
    if not rows:
        return ""
    ends = [100 * v / f.champion for f in rows for v in (f.low, f.high, f.threshold) if v is not None and f.champion]
    low, high = _widened(min([*ends, 0.0]), max([*ends, 0.0]))
    to_x = _scale(low, high)
    height = TOP + ROW * len(rows) + BOTTOM
    body = [_grid(low, high, to_x, height), _vertical(to_x(0.0), height, SOFT, "")]
    body += [_interval_row(f, TOP + ROW * i + ROW / 2, to_x) for i, f in enumerate(rows)]
    body.append(
        _text(LABEL, height - 4, "difference in recall, % of the other side's; │ is the limit of each gate", SOFT, 12)
    )
    return _svg(height, body)


def _widened(low: float, high: float) -> tuple[float, float]:
    room = max(high - low, 1e-6) * 0.06
    return low - room, high + room


def _scale(low: float, high: float):
    span = WIDTH - LABEL - RIGHT
    return lambda value: LABEL + span * (value - low) / (high - low)


def _grid(low: float, high: float, to_x, height: float) -> str:
    return "".join(
        _vertical(to_x(tick), height, LINE, "")
        + _text(to_x(tick), height - BOTTOM + 16, f"{tick:+g} %" if tick else "0", SOFT, 12, "middle")
        for tick in ticks(low, high)
    )


def ticks(low: float, high: float) -> list[float]:
    """Returns about six round numbers between two ends."""
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= raw)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)]


def _interval_row(f: Finding, y: float, to_x) -> str:
    base, colour = f.champion or 1.0, COLOURS[f.verdict]
    low, mean, high = (to_x(100 * (v or 0.0) / base) for v in (f.low, f.difference, f.high))
    title = f"{f.gate}: {f.slice}" if f.slice else f.gate
    parts = [
        _text(LABEL - 14, y + 4, title, INK, 13, "end"),
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
        'stroke-width="6" stroke-linecap="round" opacity=".45"/>',
        f'<circle cx="{mean:.1f}" cy="{y}" r="5.5" fill="{colour}"/>',
        _text(WIDTH - RIGHT + 14, y + 4, f"{100 * (f.difference or 0) / base:+.1f} %  {f.verdict}", colour, 13),
    ]
    if f.threshold is not None:
        x = to_x(100 * f.threshold / base)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 12}" y2="{y + 12}" stroke="{INK}" stroke-width="2.5"/>')
    return "".join(parts)


def latencies(times_ms: Mapping[str, np.ndarray], limit_ms: float | None) -> str:
    """Returns what share of requests took how long, on a logarithmic axis, for one or both servers."""
    if not times_ms:
        return ""
    everything = np.concatenate(list(times_ms.values()))
    low, high = float(everything.min()) * 0.9, float(np.quantile(everything, 0.999)) * 1.15
    edges = np.geomspace(low, high, 61)
    shares = {side: np.histogram(np.minimum(t, high), edges)[0] / len(t) for side, t in times_ms.items()}
    most, height = max(float(s.max()) for s in shares.values()), 270
    to_x = _scale(math.log(low), math.log(high))
    floor = height - BOTTOM
    body = [_text(to_x(math.log(t)), floor + 16, f"{t:g} ms", SOFT, 12, "middle") for t in _log_ticks(low, high)]
    body += [_vertical(to_x(math.log(t)), height, LINE, "") for t in _log_ticks(low, high)]
    for place, (side, share) in enumerate(shares.items()):
        body.append(_area(edges, share / most, to_x, floor, SIDES[side]))
        body.append(_quantiles(times_ms[side], to_x, floor, SIDES[side], high))
        body.append(_legend(side, times_ms[side], place))
    if limit_ms is not None and limit_ms < high:
        body.append(_vertical(to_x(math.log(limit_ms)), height, COLOURS["fail"], "4 3"))
    note = f"timed by a client on the same machine, by turns; dashes: p50, p99{_beyond(limit_ms, high)}"
    return _svg(height, [*body, _text(LABEL, height - 4, note, SOFT, 12)])


def _beyond(limit_ms: float | None, high: float) -> str:
    return f"; the budget, {limit_ms:g} ms, lies further right" if limit_ms and limit_ms >= high else ""


def _log_ticks(low: float, high: float) -> list[float]:
    steps = [m * 10.0**p for p in range(-3, 5) for m in (1, 2, 5)]
    return [float(f"{step:g}") for step in steps if low <= step <= high]


def _area(edges: np.ndarray, heights: np.ndarray, to_x, floor: float, colour: str) -> str:
    points = [f"{to_x(math.log(edges[0])):.1f},{floor}"]
    for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
        y = floor - height * (floor - TOP - 10)
        points += [f"{to_x(math.log(left)):.1f},{y:.1f}", f"{to_x(math.log(right)):.1f},{y:.1f}"]
    points.append(f"{to_x(math.log(edges[-1])):.1f},{floor}")
    paint = f'fill="{colour}" fill-opacity=".25" stroke="{colour}" stroke-width="1.5"'
    return f'<polygon points="{" ".join(points)}" {paint}/>'


def _quantiles(times: np.ndarray, to_x, floor: float, colour: str, high: float) -> str:
    marks = (min(float(np.quantile(times, q)), high) for q in (0.5, 0.99))
    return "".join(
        f'<line x1="{to_x(math.log(m)):.1f}" x2="{to_x(math.log(m)):.1f}" y1="{TOP}" y2="{floor}" stroke="{colour}" '
        'stroke-width="1.5" stroke-dasharray="5 4"/>'
        for m in marks
    )


def _legend(side: str, times: np.ndarray, place: int) -> str:
    p50, p95, p99 = np.quantile(times, [0.5, 0.95, 0.99])
    y = 40 + place * 76
    lines = [_text(20, y, side, SIDES[side], 14)]
    lines += [
        _text(20, y + 18 * (i + 1), f"{name}  {v:.3g} ms", INK, 13)
        for i, (name, v) in enumerate((("p50", p50), ("p95", p95), ("p99", p99)))
    ]
    return "".join(lines)


def _vertical(x: float, height: float, colour: str, dashes: str) -> str:
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - BOTTOM}" stroke="{colour}"{pattern}/>'


def _text(x: float, y: float, words: str, colour: str, size: int, anchor: str = "start") -> str:
    style = f'fill="{colour}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def _svg(height: float, body: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" font-family="inherit">{"".join(body)}</svg>'
