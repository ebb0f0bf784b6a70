"""What tables are made of: cells, rows, notes, and the places of tables in the documents. Nobody types numbers in.

Pure but for `write`, which replaces what stands between the marks of a document.
"""

from pathlib import Path

OURS = "cspnet"

NOISY = "†"


def write(path, mark, text):
    """Replaces what stands between the marks of a document.

    Raises ValueError if it has no marks of that name.
    """
    path, first, last = Path(path), f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    before, begin, rest = path.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{path}: no {first} and {last}")
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def timed(configuration):
    """The engines that were."""
    return [e for e in configuration["engines"] if "min_ms" in e]


def ours(configuration):
    return next(e for e in configuration["engines"] if e["engine"] == OURS)


def names(results):
    """Engines in the order of the first configuration."""
    return list(dict.fromkeys(e["engine"] for c in results["configurations"] for e in c["engines"]))


def label(configuration):
    return configuration["label"] + (NOISY if configuration["doubts"] else "")


def times(engine, bold):
    """Minimum and median, or how it failed."""
    if "min_ms" not in engine:
        return failed(engine)
    least = ms(engine["min_ms"])
    return f"{f'**{least}**' if bold else least} ({ms(engine['median_ms'])})"


def failed(engine):
    return engine["error"] if engine["error"] == "wrong answer" else "fails"


def ms(value):
    """Three digits that count."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def megabytes(engine):
    return f"{engine['peak_rss_bytes'] / 1e6:.0f}" if engine.get("peak_rss_bytes") else ""


def quotient(value):
    return "" if value is None else f"{value:.2f}"


def threads(count):
    return f"{count} thread" + ("" if count == 1 else "s")


def title(count, batch):
    return f"{threads(count)}, batch {batch}"


def machine(results):
    """What was measured on what, and how a table of times is to be read."""
    return (
        f"{results['machine']['cpu']}, {results['machine']['cores']} cores, {results['date']}, commit "
        f"{results['commit']}. {versions(results)}. Minima in milliseconds, medians in brackets, the fastest of a row bold."
    )


def versions(results, without=()):
    return ", ".join(f"{name} {version}" for name, version in results["versions"].items() if name not in without)


def failures(configurations):
    """A note on each engine that was not timed."""
    notes = []
    for configuration in configurations:
        for engine in (e for e in configuration["engines"] if "error" in e):
            error = f"relative error {engine['relative_l2']:.1e}" if "relative_l2" in engine else reason(engine)
            notes.append(f"{engine['engine']}, {_where(configuration)}: {error}, not timed.")
    return notes


def reason(engine):
    """Why an engine failed: the first line of what it said."""
    return engine["error"].strip().partition("\n")[0][:160]


def doubts(configurations):
    """A note on each configuration that was disturbed."""
    return [f"{NOISY} {_where(c)}: {'; '.join(c['doubts'])}; not to be trusted." for c in configurations if c["doubts"]]


def bullets(notes):
    return "\n".join(f"- {note}" for note in notes)


def _where(configuration):
    return f"{configuration['label']}, {title(configuration['threads'], configuration['batch'])}"
