"""Small models and their runs. Guided tour:

recipe       what is trained and how: model shape, optimizer, learning-rate schedule, readings
model        the proxy, a small transformer
mixture      its mixture-of-experts variant
folders      where a stream's files lie, known without torch
feed         batches from the StreamingDataset, held-out samples beside it
answers      a proxy behind the probes' protocol
training     the loop: batches in, readings out
checkpoint   weights and optimizer as safetensors, state as JSON
run          one proxy trained on one mix with one seed, and its folder
population   many runs trained as one computation (population_groups: which; _model, _training, _readings, _checkpoint)
external     a trainer of your own as a run
"""
