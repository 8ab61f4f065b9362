"""The mix file: streams, schedule, orders, seed. Guided tour:

Mix                   the whole file; `Mix.load(path)`, `mix.dump(path)`, `mix.plan(sizes)`, `mix.fingerprint()`
Stream                one named data source and how it may be read
Phase                 a contiguous part of the run with start (and end) weights
Order                 how a stream's windows follow one another
Subset                a fixed part of a stream, played in place of all of it
Document, Node        a YAML file whose values know their lines; study files are read with it too
read_streams          the `streams:` section that mix files and study files share
describe_difference   what changed between two canonical mixes, line by line
mix_from_canonical    what a saved run played before, as a mix again
write_atomically      a file, whole or not at all
FieldError            what a type raises when one of its fields is wrong, in Python as in a file
"""

from curriculum.mix.canonical import describe_difference, mix_from_canonical
from curriculum.mix.document import Document, Node
from curriculum.mix.fields import FieldError
from curriculum.mix.mix import Mix
from curriculum.mix.order import Order
from curriculum.mix.phase import Phase
from curriculum.mix.reading import read_streams
from curriculum.mix.stream import Stream
from curriculum.mix.subset import Subset
from curriculum.mix.writing import write_atomically

__all__ = [
    "Document",
    "FieldError",
    "Mix",
    "Node",
    "Order",
    "Phase",
    "Stream",
    "Subset",
    "describe_difference",
    "mix_from_canonical",
    "read_streams",
    "write_atomically",
]
