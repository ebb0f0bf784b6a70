"""Tables in Markdown of what was measured, and their places in the documents. Nobody types numbers in.

Pure but for `write`, which replaces what stands between the marks of a document.
"""

from pathlib import Path

BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"

OURS = "cspnet"

NOISY = "†"

MEMORY = (
    "The most memory that a worker process had at once, in MB: loading included, and for engines that are used from "
    "Python its interpreter and NumPy."
)


def full(results):
    """For docs/performance.md: a table for each pair of threads and batch, one of memory, and notes."""
    names = _names(results)
    parts = [_machine(results)]
    for threads, batch in _pairs(results):
        rows = [_row(configuration) for configuration in _of(results, threads, batch)]
        body = [[row.get(column, "") for column in ("network", *names, "ratio")] for row in rows]
        head = [_title(threads, batch), *names, "fastest peer / cspnet"]
        parts.append(_table(head, body))
    parts += [MEMORY, _memory(results), _notes(results)]
    return "\n\n".join(parts)


def short(results):
    """For the README: ours and the fastest peer, one picture at a time."""
    shown = [configuration for configuration in results["configurations"] if configuration["batch"] == 1]
    counts = list(dict.fromkeys(configuration["threads"] for configuration in shown))
    duels = {(c["label"], c["threads"]): _duel(c) for c in shown}
    head = ["network"]
    for threads in counts:
        head += [f"{_threads(threads)}: cspnet", "fastest peer", "ratio"]
    body = []
    for label in dict.fromkeys(configuration["label"] for configuration in shown):
        duel = [duels.get((label, threads), [""] * 3) for threads in counts]
        body.append([label, *sum(duel, [])])
    parts = [_sentence(results), _table(head, body)]
    if any(configuration["doubts"] for configuration in shown):
        parts.append(f"{NOISY} The machine was not quiet.")
    return "\n\n".join(parts)


def write(path, text):
    """Replaces what stands between the marks of a document.

    Raises ValueError if it has no marks.
    """
    path = Path(path)
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: no {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def fastest_peer(configuration):
    """The peer with the smallest minimum, or None if none was timed."""
    timed = [e for e in configuration["engines"] if "min_ms" in e and e["engine"] != OURS]
    return min(timed, key=lambda e: e["min_ms"], default=None)


def ratio(configuration):
    """The fastest peer's minimum over ours: above 1 we are faster. None if there was no peer."""
    peer = fastest_peer(configuration)
    return peer and peer["min_ms"] / _ours(configuration)["min_ms"]


def _ours(configuration):
    return next(e for e in configuration["engines"] if e["engine"] == OURS)


def _row(configuration):
    """Cells by column: minimum and median of each engine, the fastest bold."""
    timed = [e for e in configuration["engines"] if "min_ms" in e]
    best = min(timed, key=lambda e: e["min_ms"])
    row = {"network": _label(configuration), "ratio": _ratio(configuration)}
    for engine in configuration["engines"]:
        row[engine["engine"]] = _times(engine, engine is best)
    return row


def _duel(configuration):
    """Ours, the fastest peer, and the ratio of the two."""
    ours, peer = _ours(configuration), fastest_peer(configuration)
    mark = NOISY if configuration["doubts"] else ""
    if peer is None:
        return [f"{_ms(ours['min_ms'])}{mark}", "", ""]
    won = ours["min_ms"] <= peer["min_ms"]
    cells = [f"{_ms(ours['min_ms'])}", f"{_ms(peer['min_ms'])}"]
    cells[0 if won else 1] = f"**{cells[0 if won else 1]}**"
    return [f"{cells[0]}{mark}", f"{cells[1]} {peer['engine']}", _ratio(configuration)]


def _times(engine, bold):
    if "min_ms" not in engine:
        return engine["error"].split(":")[0] if engine.get("error") == "wrong answer" else "fails"
    least = _ms(engine["min_ms"])
    return f"{f'**{least}**' if bold else least} ({_ms(engine['median_ms'])})"


def _ms(value):
    """Three digits that count."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _ratio(configuration):
    of_it = ratio(configuration)
    return "" if of_it is None else f"{of_it:.2f}"


def _label(configuration):
    return configuration["label"] + (NOISY if configuration["doubts"] else "")


def _memory(results):
    """Peak RSS for the first pair of threads and batch."""
    threads, batch = _pairs(results)[0]
    names = _names(results)
    rows = []
    for configuration in _of(results, threads, batch):
        cells = {
            e["engine"]: f"{e['peak_rss_bytes'] / 1e6:.0f}" for e in configuration["engines"] if e.get("peak_rss_bytes")
        }
        rows.append([configuration["label"], *(cells.get(name, "") for name in names)])
    return _table([_title(threads, batch), *names], rows)


def _notes(results):
    """What is to be known of single cells."""
    notes = []
    wrong = [(c, e) for c in results["configurations"] for e in c["engines"] if "error" in e]
    for configuration, engine in wrong:
        where = f"{configuration['label']}, {_title(configuration['threads'], configuration['batch'])}"
        error = f"relative error {engine['relative_l2']:.1e}" if "relative_l2" in engine else "no answer"
        notes.append(f"{engine['engine']}, {where}: {error}, not timed.")
    errors = [e["relative_l2"] for c in results["configurations"] for e in c["engines"] if "min_ms" in e]
    notes.append(
        f"All logits that are timed differ from those of `--strict` by at most {max(errors):.1e} of their norm."
    )
    for configuration in results["configurations"]:
        if configuration["doubts"]:
            where = f"{configuration['label']}, {_title(configuration['threads'], configuration['batch'])}"
            notes.append(f"{NOISY} {where}: {'; '.join(configuration['doubts'])}; not to be trusted.")
    return "\n".join(f"- {note}" for note in notes)


def _machine(results):
    machine, versions = results["machine"], results["versions"]
    told = ", ".join(f"{label} {version}" for label, version in versions.items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {results['date']}, commit {results['commit']}. {told}. "
        "Minima in milliseconds, medians in brackets, the fastest of a row bold."
    )


def _sentence(results):
    machine, versions = results["machine"], results["versions"]
    told = ", ".join(f"{label} {version}" for label, version in versions.items() if label != OURS)
    return (
        f"Minima in milliseconds, single precision, one photo at a time; {machine['cpu']}, {machine['cores']} cores, "
        f"{results['date']}. The fastest peer is that of {told}."
    )


def _names(results):
    """Engines in the order of the first configuration."""
    return list(dict.fromkeys(e["engine"] for c in results["configurations"] for e in c["engines"]))


def _pairs(results):
    return list(dict.fromkeys((c["threads"], c["batch"]) for c in results["configurations"]))


def _of(results, threads, batch):
    return [c for c in results["configurations"] if (c["threads"], c["batch"]) == (threads, batch)]


def _threads(count):
    return f"{count} thread" + ("" if count == 1 else "s")


def _title(threads, batch):
    return f"{_threads(threads)}, batch {batch}"


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
