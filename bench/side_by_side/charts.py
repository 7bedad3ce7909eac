"""Charts as plain SVG files that GitHub shows in light and dark."""

import math
from html import escape

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #3b444d; }
.page { fill: #ffffff; }
.title { font-weight: 600; font-size: 14px; fill: #16191d; }
.value { font-weight: 600; }
.grid { stroke: #dfe3e8; }
.c0 { fill: #1f5fd0; } .c1 { fill: #b45309; } .c2 { fill: #7a8794; } .c3 { fill: #15803d; } .c4 { fill: #9333ea; }
.l0 { stroke: #1f5fd0; } .l1 { stroke: #b45309; } .l2 { stroke: #7a8794; }
.l0, .l1, .l2 { fill: none; stroke-width: 2.5; }
@media (prefers-color-scheme: dark) {
  .page { fill: #12161b; } text { fill: #b3bdc7; } .title { fill: #e9edf2; } .grid { stroke: #333b44; }
  .c0 { fill: #6ea8fe; } .c1 { fill: #f3a64b; } .c2 { fill: #94a1ae; } .c3 { fill: #4ade80; } .c4 { fill: #c084fc; }
  .l0 { stroke: #6ea8fe; } .l1 { stroke: #f3a64b; } .l2 { stroke: #94a1ae; }
}
"""

WIDTH = 720


def svg(title, height, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label="{escape(title)}">\n<style>{STYLE}</style>\n'
            # The page around it may be dark where the reader's system is light.
            f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>\n'
            f'<text class="title" x="8" y="20">{escape(title)}</text>\n' + "\n".join(body) + "\n</svg>\n")


def bars(title, groups, show):
    """Groups of bars from zero: groups is a list of (name, [(series, value)]); show writes a value."""
    names = list(dict.fromkeys(name for _, rows in groups for name, _ in rows))
    most = max((value for _, rows in groups for _, value in rows if value), default=1)
    body, x = [], 170
    for i, name in enumerate(names):
        body.append(f'<rect class="c{i}" x="{x}" y="32" width="12" height="12" rx="2"/>')
        body.append(f'<text x="{x + 18}" y="43">{escape(name)}</text>')
        x += 40 + 8 * len(name)
    y = 60
    for group, rows in groups:
        body.append(f'<text x="160" y="{y + 10 * len(rows) + 5}" text-anchor="end">{escape(group)}</text>')
        for name, value in rows:
            width = max(1.5, (value or 0) / most * 430)
            body.append(f'<rect class="c{names.index(name)}" x="170" y="{y}" width="{width:.1f}" height="15" rx="2"/>')
            body.append(f'<text class="value" x="{176 + width:.1f}" y="{y + 12}">{escape(show(value))}</text>')
            y += 20
        y += 14
    return svg(title, y, body)


def curves(title, axis, series, show):
    """Values over an axis that grows by factors: series is a list of (name, [(x, y)]), drawn from zero upwards."""
    points = [point for _, rows in series for point in rows]
    if not points:
        return svg(title, 60, [])
    low, high = (math.log(pick(x for x, _ in points)) for pick in (min, max))
    most = max(y for _, y in points) * 1.15 or 1
    left, right, top, floor = 90, WIDTH - 40, 56, 260
    place_x = lambda x: left + (math.log(x) - low) / ((high - low) or 1) * (right - left)  # noqa: E731
    place_y = lambda y: floor - y / most * (floor - top)  # noqa: E731
    body = []
    for step in range(5):
        y = most / 1.15 * step / 4
        body.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{place_y(y):.1f}" y2="{place_y(y):.1f}"/>')
        body.append(f'<text x="{left - 8}" y="{place_y(y) + 4:.1f}" text-anchor="end">{escape(show(y))}</text>')
    for x in sorted({x for x, _ in points}):
        body.append(f'<text x="{place_x(x):.1f}" y="{floor + 20}" text-anchor="middle">{x:,}</text>')
    body.append(f'<text x="{(left + right) / 2}" y="{floor + 42}" text-anchor="middle">{escape(axis)}</text>')
    for i, (name, rows) in enumerate(series):
        path = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in rows)
        body.append(f'<polyline class="l{i}" points="{path}"/>')
        body += [f'<circle class="c{i}" cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="4"/>' for x, y in rows]
        body.append(f'<rect class="c{i}" x="{left + 150 * i}" y="32" width="12" height="12" rx="2"/>')
        body.append(f'<text x="{left + 150 * i + 18}" y="43">{escape(name)}</text>')
    return svg(title, floor + 54, body)
