"""The compiled plan inside somebody else's loader: a folder with the mix and a module that plays it.

Idea: a loader that can be asked for any sample needs no copy of the order, only the function from position to (stream,
sample). That function is the plan; it needs numpy, PyYAML and this package, not torch. The module states the sizes and
the fingerprint it was made for and refuses others, since both change the order. The alternative, an index file, costs 8
bytes a sample. The price: this package must be installed where training runs.
"""

from __future__ import annotations

from dataclasses import replace

from curriculum.export.deviation import exact
from curriculum.export.layout import head_of
from curriculum.export.target import Outcome, Request

PLAN = '''
NAME = {name!r}  # of the mix
SAMPLES = {samples}  # of the run
FINGERPRINT = "{fingerprint}"
SIZES: dict[str, int] = {sizes!r}  # samples of each stream, in the plan's order


@lru_cache
def plan() -> Plan:
    """Return the compiled plan: position -> (stream, epoch, sample), at once and anywhere."""
    mix = Mix.load(Path(__file__).with_name("mix.yaml"))
    if mix.fingerprint() != FINGERPRINT:
        raise ValueError("mix.yaml beside this module is not the mix it was exported from; export it again")
    return mix.plan(sizes=SIZES)


def in_order(parents: Mapping[str, Any]) -> list[Any]:
    """Return the streams' data sets in the plan's order. Raises ValueError unless names and sizes are the plan's."""
    sizes = {{name: len(parents[name]) for name in SIZES if name in parents}}
    if sizes != SIZES:
        raise ValueError(f"wanted data sets with these numbers of samples: {{SIZES}}, got {{sizes}}")
    return [parents[name] for name in SIZES]

'''


def export_module(request: Request, *, target: str, module: str, header: str, footer: str, use: str) -> Outcome:
    """Write mix.yaml and MODULE.py into the output's folder. Raises UserError (unknown sizes, existing files)."""
    sizes = request.known_sizes("the order inside it depends on it")
    mix = replace(request.mix, samples=request.plan.samples)
    folder = request.output.path
    request.output.text(mix.dumps(folder / "mix.yaml"), "mix.yaml")
    body = PLAN.format(name=mix.name, samples=request.plan.samples, fingerprint=mix.fingerprint(), sizes=sizes)
    request.output.text(head_of(mix, target) + header + body + footer, f"{module}.py")
    return Outcome(
        verdict="lossless",
        deviations=exact(request),
        files=tuple(request.output.written),
        use=use,
        notes=("curriculum must be installed where training runs; the plan itself needs numpy and PyYAML only",),
    )
