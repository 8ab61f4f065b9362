"""`python -m curriculum.probe.authoring`: write the item set anew."""

from curriculum.probe.authoring import write

for path in write():
    print(path)
