"""What a run of an engine is: an answer, or a step of training. Who takes part, on which networks, where it is written.

Not here: what is the same for both, which is how they are measured (rounds.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import engines, environment, tables, training_tables
from .engines import Engine
from .rounds import Configuration

README = environment.ROOT / "README.md"
PERFORMANCE = environment.ROOT / "docs" / "performance.md"

# The threads and batch of the tables of answers.
ANSWERED = ((1, 1), (2, 1), (2, 8))

# The threads of the tables of training, and the batch of networks that are in none.
TRAINED, BATCH = (1, 2), 8


@dataclass(frozen=True)
class Subject:
    """One of the two."""

    ours: Engine
    # Whose answers are right.
    reference: Engine
    peers: tuple[Engine, ...]
    # The networks of the tables, as NAME@SIZE, and the pairs of threads and batch that each is measured with.
    networks: dict[str, tuple]
    # The pairs of other networks.
    pairs: tuple
    # Answers that are compared, one after another.
    answers: int
    # Those that differ by more than this share of their norm are wrong.
    max_error: float
    # An engine that is much slower than the fastest takes part in one of so many rounds.
    seldom: int
    # Whether the peak of memory is that since loading.
    loaded_first: bool
    results: Path
    # Each with the marks of its table and what renders it.
    documents: tuple[tuple[Path, str, Callable], ...]

    def configurations(self, networks, threads, batches):
        """Each of `networks`, by what they were called, with its pairs; or every pair of `threads` and `batches`.

        If only one of these is given, the other is a network's threads, or the batch of its first pair.
        """
        configurations = []
        for text, network in networks.items():
            pairs = self.networks.get(text, self.pairs)
            if threads or batches:
                own = dict.fromkeys(t for t, _ in pairs)
                pairs = [(t, b) for b in batches or [pairs[0][1]] for t in threads or own]
            configurations += [Configuration(self, network, *pair) for pair in pairs]
        return configurations


ANSWERS = Subject(
    ours=engines.OURS,
    reference=engines.STRICT,
    peers=engines.PEERS,
    networks=dict.fromkeys(
        (
            "cspdarknet53@256",
            "darknet53@256",
            "cspresnet50@256",
            "cspresnext50@256",
            "densenet121@224",
            "densenet201@224",
            "cspdensenet121:gamma=0.5,fusion=both@224",
            "resnet50@224",
        ),
        ANSWERED,
    ),
    pairs=ANSWERED,
    answers=1,
    max_error=1e-3,
    seldom=3,
    loaded_first=False,
    results=environment.BENCH / "results" / "peers.json",
    documents=((README, "peers", tables.short), (PERFORMANCE, "peers", tables.full)),
)

TRAINING = Subject(
    ours=engines.TRAINING,
    reference=engines.TORCH_DOUBLE,
    peers=engines.TRAINING_PEERS,
    networks={
        text: tuple((threads, batch) for threads in TRAINED)
        for text, batch in {
            "cspdarknet53@128": BATCH,
            "densenet121@128": BATCH,
            "cspresnext50@128": BATCH,
            "cspdensenet121:gamma=0.5,fusion=both@128": BATCH,
            "densenet_bc:depth=100,growth=12@32": 64,
        }.items()
    },
    pairs=tuple((threads, BATCH) for threads in TRAINED),
    answers=5,
    max_error=1e-4,
    seldom=1,
    loaded_first=True,
    results=environment.BENCH / "results" / "training.json",
    documents=((README, "training", training_tables.short), (PERFORMANCE, "training", training_tables.full)),
)
