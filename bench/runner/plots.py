"""Plots as SVG, drawn by gnuplot (Debian: gnuplot-nox)."""

import shutil
import subprocess

COLOURS = ["#1b6ca8", "#d1495b", "#66a182", "#edae49", "#7768ae", "#00798c", "#8d6a4f", "#555555", "#c06c84", "#2e4057"]


def have_gnuplot():
    return shutil.which("gnuplot") is not None


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', "'").replace("_", "\\\\_") + '"'


def draw(problem, results, path):
    """Draws the plot of a problem; False when there is nothing to draw."""
    what = problem.plot(results)
    script = bars(what, results) if what["kind"] == "bars" else lines(what)
    if script is None:
        return False
    head = [f"set output {quoted(str(path))}".replace("\\\\_", "_"), f"set title {quoted(problem.TITLE)}", f"set ylabel {quoted(what['y'])}",
            "set grid ytics lc rgb '#dddddd'", "set border 3", "set tics nomirror"]
    subprocess.run(["gnuplot"], input="\n".join(head + script) + "\n", text=True, check=True, capture_output=True)
    return True


def bars(what, results):
    """A bar for each contender of each case."""
    rows = []
    for case, contenders in results.data.items():
        for name in contenders:
            figure = results.figure(case, name, what["series"])
            if figure:
                label = f"{name}, {case}" if len(results.data) > 1 else name
                rows.append((label, figure / what["scale"], COLOURS[0 if name.startswith("cofork") else 7]))
    if not rows:
        return None
    rows.reverse()  # the first on top
    script = [f"set terminal svg size 900,{110 + 26 * len(rows)} font 'sans,13' background 'white'", "set style fill solid", "unset key",
              "unset ylabel", f"set xlabel {quoted(what['y'])}", "set grid xtics lc rgb '#dddddd'", "unset grid",
              f"set yrange [-0.7:{len(rows) - 0.3}]",
              "set ytics ({})".format(", ".join(f"{quoted(r[0])} {i}" for i, r in enumerate(rows)))]
    least = min(r[1] for r in rows)
    if what.get("log"):
        script += ["set logscale x", f"set xrange [{least / 3}:*]"]
    else:
        least = 0
        script.append("set xrange [0:*]")
    start = least / 3
    script.append("plot '-' using (($2+$3)/2):1:3:2:($1-0.35):($1+0.35):4 with boxxyerror lc rgb variable")
    script += [f"{i} {value} {start if start else 0} {int(colour[1:], 16)}" for i, (_, value, colour) in enumerate(rows)]
    return [*script, "e"]


def lines(what):
    known = {name: points for name, points in what["lines"].items() if points}
    if not known:
        return None
    script = ["set terminal svg size 900,480 font 'sans,13' background 'white'", f"set xlabel {quoted(what['x'])}",
              "set key outside right top"]
    if what.get("logx"):
        script.append("set logscale x")
    if what.get("log"):
        script.append("set logscale y")
    else:
        script.append("set yrange [0:*]")
    pieces = []
    for i, name in enumerate(known):
        width = 3 if name.startswith("cofork") else 1.5
        pieces.append(f"'-' with linespoints lw {width} pt 7 ps 0.5 lc rgb '{COLOURS[i % len(COLOURS)]}' title {quoted(name)}")
    script.append("plot " + ", ".join(pieces))
    for points in known.values():
        script += [f"{x} {y}" for x, y in points] + ["e"]
    return script
