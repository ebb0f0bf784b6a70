"""Results as a run would write them, with figures that are made up."""


def engine(name, times=None, **more):
    figures = {} if times is None else dict(zip(("min_ms", "median_ms"), times))
    return {"engine": name} | ({"relative_l2": 2e-7, "peak_rss_bytes": 100_000_000} if times else {}) | figures | more


def configuration(engines, threads=1, batch=1, label="Net @8", doubts=(), **more):
    return {"label": label, "threads": threads, "batch": batch, "doubts": list(doubts), "engines": engines} | more


def results(*configurations):
    return {
        "date": "2026-01-02",
        "commit": "abc",
        "machine": {"cpu": "CPU 1", "cores": 2},
        "versions": {"cspnet": "1", "ncnn": "2", "MNN": "3"},
        "configurations": list(configurations),
    }


def trained(engines, threads=1, **more):
    """A configuration of training."""
    return configuration(engines, threads, batch=8, **({"losses": [2.0, 1.9, 1.5]} | more))


def depth(of_it, *engines, **more):
    """Memory at a depth."""
    return {"depth": of_it, "threads": 2, "batch": 64, "engines": list(engines)} | more


def training(*configurations, depths=()):
    return results(*configurations) | {"versions": {"cspnet": "1", "PyTorch": "2"}, "depths": list(depths)}
