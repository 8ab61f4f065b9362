"""A mix in other trainers' own configuration, and mixes read from theirs. Guided tour:

capabilities      one row a target: what it can express, what it needs, what it writes; help and documentation are made of it
target            `Target`, `Request`, `Outcome`: what an export is given and what it says; the protocol for third parties
finding           a target by name: ours, or one that an installed package offers under `curriculum.exports`
staircase         a schedule as stages of constant weights, cut where the target can cut
deviation         how far such stages stray from the plan, per stream and phase
places            where the target finds each stream
output            files, whole or not at all, never over others' work
layout            YAML as these trainers write it

llm_foundry, levanter, nanotron                 stages
megatron, olmo_core                             static blends, and index files that carry the exact order
torchtitan, litdata                             static blends
grain, huggingface, played                      modules that play the compiled plan
mds                                             the plan written out as a data set

reading           static mixes of LLM-Foundry, OLMo-core, Megatron and RegMix as a starting mix
"""
