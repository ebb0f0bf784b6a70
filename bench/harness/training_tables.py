"""Tables in Markdown of how fast a step of training is and what memory it takes, beside PyTorch's. Pure.

PyTorch's better mode is the faster of its two memory formats; `torch.compile` is shown and compared by itself.
"""

from . import cells

MODES = ("PyTorch", "PyTorch channels last")
COMPILED = "PyTorch compiled"

MEMORY = (
    "The most memory that a worker process had at once while its steps were measured, in MB; the last column is our "
    "share of the leaner of PyTorch's two memory formats. In PyTorch's are its interpreter and libraries."
)
DEPTHS = (
    "DenseNet-BC with growth 12 by depth, pictures of 32 x 32, batch {batch}, {threads}: the most memory in MB of a process "
    "that makes two steps."
)
LOADED = "PyTorch has {:.0f} MB of it before its first step."


def full(results):
    """For docs/performance.md: a table for each number of threads, one of memory, one of memory by depth, and notes."""
    parts = [cells.machine(results)]
    parts += [_times(results, threads) for threads in _threads(results)]
    parts += [MEMORY, _memory(results, _threads(results)[-1])]
    if results["depths"]:
        parts += [_depths_title(results["depths"]), _depths(results["depths"])]
    return "\n\n".join([*parts, _notes(results)])


def short(results):
    """For the README: ours and PyTorch's better mode, and the memory of both."""
    counts = _threads(results)
    head = ["network, batch"]
    for threads in counts:
        head += [f"{cells.threads(threads)}: cspnet", "PyTorch", "ratio"]
    head += ["MB: cspnet", "PyTorch", "share"]
    body = [_short_row(results, label, counts) for label in _labels(results)]
    parts = [_sentence(results), cells.table(head, body)]
    if any(configuration["doubts"] for configuration in results["configurations"]):
        parts.append(f"{cells.NOISY} The machine was not quiet.")
    return "\n\n".join(parts)


def better_mode(configuration):
    """The faster of PyTorch's memory formats, or None if neither was timed."""
    modes = [e for e in cells.timed(configuration) if e["engine"] in MODES]
    return min(modes, key=lambda e: e["min_ms"], default=None)


def ratio(configuration):
    """The better mode's minimum over ours: above 1 we are faster. None if there is none."""
    return _over_ours(configuration, better_mode(configuration))


def memory_share(engines):
    """Our peak of memory over that of the leaner of PyTorch's memory formats, or None if one has no peak."""
    ours = next(e for e in engines if e["engine"] == cells.OURS)
    leaner = _leaner(engines)
    return ours["peak_rss_bytes"] / leaner["peak_rss_bytes"] if leaner and ours.get("peak_rss_bytes") else None


def scaling(one, more, engine):
    """The quotient of what `engine` finds in each of two configurations, or None if it is in one only."""
    pair = [configuration and engine(configuration) for configuration in (one, more)]
    return pair[0]["min_ms"] / pair[1]["min_ms"] if all(pair) else None


def _over_ours(configuration, engine):
    return engine and engine["min_ms"] / cells.ours(configuration)["min_ms"]


def _leaner(engines):
    modes = [e for e in engines if e["engine"] in MODES and e.get("peak_rss_bytes")]
    return min(modes, key=lambda e: e["peak_rss_bytes"], default=None)


def _compiled(configuration):
    return next((e for e in cells.timed(configuration) if e["engine"] == COMPILED), None)


def _times(results, threads):
    """A table for a number of threads; if it is not the first, with what it gains over that."""
    names, fewest = cells.names(results), _threads(results)[0]
    head = [cells.threads(threads), "batch", *names, "better of two / cspnet", "compiled / cspnet"]
    more = threads != fewest
    if more:
        head += [f"{fewest} to {threads} threads: cspnet", "PyTorch"]
    rows = []
    for configuration in (c for c in results["configurations"] if c["threads"] == threads):
        best = min(cells.timed(configuration), key=lambda e: e["min_ms"])
        shown = {e["engine"]: cells.times(e, e is best) for e in configuration["engines"]}
        figures = [ratio(configuration), _over_ours(configuration, _compiled(configuration))]
        if more:
            one = _find(results, configuration["label"], configuration["batch"], fewest)
            figures += [scaling(one, configuration, engine) for engine in (cells.ours, better_mode)]
        batch = str(configuration["batch"])
        row = [cells.label(configuration), batch, *(shown.get(name, "") for name in names)]
        rows.append(row + [cells.quotient(figure) for figure in figures])
    return cells.table(head, rows)


def _memory(results, threads):
    names = cells.names(results)
    rows = []
    for configuration in (c for c in results["configurations"] if c["threads"] == threads):
        peaks = {e["engine"]: cells.megabytes(e) for e in configuration["engines"]}
        share = cells.quotient(memory_share(configuration["engines"]))
        rows.append([_named(configuration), *(peaks.get(name, "") for name in names), share])
    return cells.table([cells.threads(threads), *names, "share"], rows)


def _depths_title(depths):
    first = depths[0]
    told = DEPTHS.format(batch=first["batch"], threads=cells.threads(first["threads"]))
    engines = [e for depth in depths for e in depth["engines"] if e["engine"] in MODES]
    loaded = [e["loaded_rss_bytes"] for e in engines if "loaded_rss_bytes" in e]
    return f"{told} {LOADED.format(min(loaded) / 1e6)}" if loaded else told


def _depths(depths):
    names = [e["engine"] for e in depths[0]["engines"]]
    rows = []
    for depth in depths:
        peaks = [_fits(engine) for engine in depth["engines"]]
        rows.append([str(depth["depth"]), *peaks, cells.quotient(memory_share(depth["engines"]))])
    return cells.table(["depth", *names, "share"], rows)


def _fits(engine):
    if "error" not in engine:
        return cells.megabytes(engine)
    return "does not fit" if "allocate memory" in engine["error"] else cells.failed(engine)


def _short_row(results, label, counts):
    """A network and batch with all numbers of threads, and the memory with the most of them."""
    row = [f"{label[0]}, {label[1]}"]
    for threads in counts:
        row += _duel(_find(results, *label, threads))
    last = _find(results, *label, counts[-1])
    if last is None:
        return [*row, "", "", ""]
    leaner = _leaner(last["engines"])
    peaks = [cells.megabytes(cells.ours(last)), cells.megabytes(leaner) if leaner else ""]
    return [*row, *peaks, cells.quotient(memory_share(last["engines"]))]


def _duel(configuration):
    """Ours, PyTorch's better mode, and the ratio of the two."""
    if configuration is None:
        return [""] * 3
    ours, peer = cells.ours(configuration), better_mode(configuration)
    mark = cells.NOISY if configuration["doubts"] else ""
    pair = [cells.ms(e["min_ms"]) if e else "" for e in (ours, peer)]
    won = peer is None or ours["min_ms"] <= peer["min_ms"]
    pair[0 if won else 1] = f"**{pair[0 if won else 1]}**"
    return [f"{pair[0]}{mark}", pair[1], cells.quotient(ratio(configuration))]


def _notes(results):
    configurations = results["configurations"]
    losses = [c["losses"] for c in configurations]
    errors = [e["relative_l2"] for c in configurations for e in cells.timed(c)]
    moved = min(abs(1 - of_it[-1] / of_it[0]) for of_it in losses)
    right = (
        f"The losses of the first {len(losses[0])} steps, between which they change by {100 * moved:.2g} % or more, differ "
        f"from those of PyTorch in double precision by at most {max(errors):.1e} of their norm where steps are timed."
    )
    notes = [*cells.failures(configurations), right, *_depth_notes(results["depths"]), *cells.doubts(configurations)]
    return cells.bullets(notes)


def _depth_notes(depths):
    """Why there is no peak of memory, and how much was free."""
    notes = []
    for depth in depths:
        for engine in (e for e in depth["engines"] if "error" in e):
            free = f"{engine['free_bytes'] / 1e9:.1f} GB were free"
            notes.append(f"{engine['engine']}, depth {depth['depth']}: {free}; {cells.reason(engine)}.")
    return notes


def _sentence(results):
    machine = results["machine"]
    return (
        f"Minima of a step of SGD with momentum in milliseconds, single precision; {machine['cpu']}, {machine['cores']} "
        f"cores, {results['date']}. PyTorch {results['versions'].get(MODES[0], '')} in the better of its two memory formats; "
        "the memory is the most that training takes."
    )


def _threads(results):
    return sorted({c["threads"] for c in results["configurations"]})


def _labels(results):
    return list(dict.fromkeys((c["label"], c["batch"]) for c in results["configurations"]))


def _find(results, label, batch, threads):
    wanted = (label, batch, threads)
    return next((c for c in results["configurations"] if (c["label"], c["batch"], c["threads"]) == wanted), None)


def _named(configuration):
    return f"{configuration['label']}, batch {configuration['batch']}"
