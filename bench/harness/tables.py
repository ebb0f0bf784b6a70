"""Tables in Markdown of how fast engines answer. Pure.

Not here: those of training (training_tables.py), and what both are made of (cells.py).
"""

from . import cells

MEMORY = (
    "The most memory that a worker process had at once, in MB: loading included, and for engines that are used from "
    "Python its interpreter and NumPy."
)


def full(results):
    """For docs/performance.md: a table for each pair of threads and batch, one of memory, and notes."""
    names = cells.names(results)
    parts = [cells.machine(results)]
    for threads, batch in _pairs(results):
        rows = [_row(configuration) for configuration in _of(results, threads, batch)]
        body = [[row.get(column, "") for column in ("network", *names, "ratio")] for row in rows]
        head = [cells.title(threads, batch), *names, "fastest peer / cspnet"]
        parts.append(cells.table(head, body))
    parts += [MEMORY, _memory(results), _notes(results)]
    return "\n\n".join(parts)


def short(results):
    """For the README: ours and the fastest peer, one picture at a time."""
    shown = [configuration for configuration in results["configurations"] if configuration["batch"] == 1]
    counts = list(dict.fromkeys(configuration["threads"] for configuration in shown))
    duels = {(c["label"], c["threads"]): _duel(c) for c in shown}
    head = ["network"]
    for threads in counts:
        head += [f"{cells.threads(threads)}: cspnet", "fastest peer", "ratio"]
    body = []
    for label in dict.fromkeys(configuration["label"] for configuration in shown):
        body.append([label, *(cell for threads in counts for cell in duels.get((label, threads), [""] * 3))])
    parts = [_sentence(results), cells.table(head, body)]
    if any(configuration["doubts"] for configuration in shown):
        parts.append(f"{cells.NOISY} The machine was not quiet.")
    return "\n\n".join(parts)


def fastest_peer(configuration):
    """The peer with the smallest minimum, or None if none was timed."""
    peers = [e for e in cells.timed(configuration) if e["engine"] != cells.OURS]
    return min(peers, key=lambda e: e["min_ms"], default=None)


def ratio(configuration):
    """The fastest peer's minimum over ours: above 1 we are faster. None if there was no peer."""
    peer = fastest_peer(configuration)
    return peer and peer["min_ms"] / cells.ours(configuration)["min_ms"]


def _row(configuration):
    """Cells by column: minimum and median of each engine, the fastest bold."""
    best = min(cells.timed(configuration), key=lambda e: e["min_ms"])
    row = {"network": cells.label(configuration), "ratio": cells.quotient(ratio(configuration))}
    for engine in configuration["engines"]:
        row[engine["engine"]] = cells.times(engine, engine is best)
    return row


def _duel(configuration):
    """Ours, the fastest peer, and the ratio of the two."""
    ours, peer = cells.ours(configuration), fastest_peer(configuration)
    mark = cells.NOISY if configuration["doubts"] else ""
    if peer is None:
        return [f"{cells.ms(ours['min_ms'])}{mark}", "", ""]
    won = ours["min_ms"] <= peer["min_ms"]
    pair = [cells.ms(ours["min_ms"]), cells.ms(peer["min_ms"])]
    pair[0 if won else 1] = f"**{pair[0 if won else 1]}**"
    return [f"{pair[0]}{mark}", f"{pair[1]} {peer['engine']}", cells.quotient(ratio(configuration))]


def _memory(results):
    """Peak RSS for the first pair of threads and batch."""
    threads, batch = _pairs(results)[0]
    names = cells.names(results)
    rows = []
    for configuration in _of(results, threads, batch):
        peaks = {e["engine"]: cells.megabytes(e) for e in configuration["engines"]}
        rows.append([configuration["label"], *(peaks.get(name, "") for name in names)])
    return cells.table([cells.title(threads, batch), *names], rows)


def _notes(results):
    """What is to be known of single cells."""
    configurations = results["configurations"]
    errors = [e["relative_l2"] for c in configurations for e in cells.timed(c)]
    right = f"All logits that are timed differ from those of `--strict` by at most {max(errors):.1e} of their norm."
    return cells.bullets([*cells.failures(configurations), right, *cells.doubts(configurations)])


def _sentence(results):
    machine = results["machine"]
    return (
        f"Minima in milliseconds, single precision, one photo at a time; {machine['cpu']}, {machine['cores']} cores, "
        f"{results['date']}. The fastest peer is that of {cells.versions(results, {cells.OURS})}."
    )


def _pairs(results):
    return list(dict.fromkeys((c["threads"], c["batch"]) for c in results["configurations"]))


def _of(results, threads, batch):
    return [c for c in results["configurations"] if (c["threads"], c["batch"]) == (threads, batch)]
