"""Language models that can be asked, looked into and trained further: our proxies, Hugging Face's, callables. Guided tour:

opening             a path or name -> a model, whatever kind it is; a folder -> its checkpoints in order
network             what monitors need of a model: its module, logits, hidden states, routing

hugging_face        any causal language model of the transformers library
hugging_face_files  opening one from safetensors or GGUF, refusing pickles
proxy_model         a proxy, from memory or from a checkpoint
callable_model      a plain function

sequences           which token sequences must be read, shared where they begin alike
key_values          what a network has read, ready to be continued
reader              one operation: read tokens, after others or not, and look at some places
prefix_scoring      log-probabilities of answers from it
generation          sampled text, the same for the same seed however it is batched
prefix_generation   rows that grow from keys and values
looking             what leaves a network's layers, and how its routers choose
evaluating          a network in evaluation mode for a while

activations         what layers make of probe items, as Gram matrices; gradients: the gradients of their answers
routing             how mixture-of-experts models route samples

survey              many checkpoints asked the same probes, every answer kept; losses: what loss they had
diagnosis           a hop put to its controls
fine_tuning         a short training from a checkpoint; averaging: several checkpoints as one; perturbation: one optimizer step
"""
